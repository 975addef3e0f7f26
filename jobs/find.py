"""find: which samples a picture, an address or a caption belongs to, and what became of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from t2i_shards.adapters.options import Root, Unnamed
from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.find import Query, count_states, find
from t2i_shards.pipeline.plain import list_counts, number_of


@dataclass(frozen=True)
class FindCommand:
    """Look up rows by their pictures' paths, addresses, captions or digests: a line of JSON for each."""

    root: Root
    """The dataset."""
    query: Unnamed[Query] = field(default_factory=Query)
    json: bool = False
    """Print all as one JSON record."""

    def run(self) -> Summary:
        self.query.check()
        found = find(Dataset.open(self.root), self.query)
        rows, states = [asdict(row) for row in found], list_counts(count_states(found))
        end = f"find: {number_of(len(rows), 'row')} in {self.root}" + (f"; {states}" if states else "")
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        return Summary("\n".join([*lines, end]), {"command": "find", "rows": rows})
