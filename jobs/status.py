"""status: what is done, missing, stale and dropped, by column."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated

import tyro

from t2i_shards.adapters.options import Root
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left_out import count_unnamed, read_left_out, read_named, read_notes
from t2i_shards.pipeline.dataset.losses import Loss, read_column_losses, read_losses
from t2i_shards.pipeline.dataset.status import ColumnStatus, dataset_status, list_unplanned
from t2i_shards.pipeline.dataset.tombstones import read_removed
from t2i_shards.pipeline.engine.run import Engine
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.marks import Hidden
from t2i_shards.pipeline.plain import list_counts, number_of, show_plain
from t2i_shards.pipeline.shards.store import AT_ONCE
from t2i_shards.pipeline.sources.left_out import Named

UNNAMED = "as rows of tables are, and whatever an earlier version planned"


@dataclass(frozen=True)
class Readers(EngineOptions):
    """How receipts are read."""

    engine: Hidden[Engine] = "ray"
    """Either is the same here: receipts are a few hundred bytes each, and read by threads of this process."""
    workers: Annotated[int | None, tyro.conf.arg(aliases=["--num-workers"])] = None
    """Receipts that are read at once; 16 when not given."""


@dataclass(frozen=True)
class StatusCommand:
    """What is done, missing and stale, by column; exit code 3 where a receipt is damaged or has no plan."""

    root: Root
    """The dataset."""
    drops: bool = False
    """Name each file that was dropped, with the column and the reason."""
    left_out: bool = False
    """Name each file that the plan leaves out, with the reason; rows of tables are counted alone."""
    readers: Readers = field(default_factory=Readers)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        dataset = Dataset.open(self.root)
        damaged: list[str] = []
        columns = dataset_status(dataset, self.readers.workers or AT_ONCE, damaged)
        lost = _list_losses(dataset, damaged) if self.drops else []
        lines = [f"{column}: {loss.reason}: {show_plain(loss.location or loss.key)}" for column, loss in lost]
        left_out = read_left_out(dataset.store)
        notes = read_notes(dataset.store)
        named = _list_left_out(dataset, damaged) if self.left_out else []
        lines += [f"left out: {reason}: {show_plain(location)}" for reason, location in named]
        if self.left_out and (unnamed := count_unnamed(named, left_out)):
            lines.append(f"left out: {number_of(unnamed, 'row')} without a name, {UNNAMED}")
        lines += [_table_line(column) for column in columns]
        source = dataset.description.source
        removed = _count_removed(dataset, damaged)
        lines.append(
            f"status: {source['kind']}, {number_of(dataset.planned, 'row')} in "
            f"{number_of(len(dataset.shards), 'shard')}"
            + (f"; left out of the plan: {list_counts(left_out)}" if left_out else "")
            + (f"; {list_counts(notes)}" if notes else "")
            + (f"; {removed} removed" if removed else "")
        )
        record = {
            "command": "status",
            "shards": len(dataset.shards),
            "rows": dataset.planned,
            "left_out": left_out,
            "notes": notes,
            "removed": removed,
            "columns": {c.column: {**asdict(c), "missing": c.missing} for c in columns},
            **({"dropped": [{"column": column, **asdict(loss)} for column, loss in lost]} if self.drops else {}),
            **({"left_out_files": [one._asdict() for one in named]} if self.left_out else {}),
        }
        return Summary("\n".join(lines), record, (*damaged, *list_unplanned(Dataset.open(self.root))))


def _count_removed(dataset: Dataset, damaged: list[str]) -> int:
    """How many rows have a tombstone; a table that is gone or damaged is named in `damaged`."""
    try:
        return len(read_removed(dataset.store))
    except DamagedShard as error:
        damaged.append(str(error))
        return 0


def _list_left_out(dataset: Dataset, damaged: list[str]) -> list[Named]:
    """What the plan leaves out, by name; a table of it that is gone or damaged is named in `damaged`."""
    try:
        return list(read_named(dataset.store))
    except DamagedShard as error:
        damaged.append(str(error))
        return []


def _list_losses(dataset: Dataset, damaged: list[str]) -> list[tuple[str, Loss]]:
    """(column, loss) in the order of the columns; what cannot be read is added to `damaged`."""
    found = list[tuple[str, Loss]]()
    try:
        images = dataset.receipts(IMAGES, damaged=[])  # those that are damaged were named before
        found += [(IMAGES, loss) for loss in read_losses(dataset, images)]
        for column in dataset.columns()[1:]:
            receipts = dataset.receipts(column, damaged=[])
            found += [(column, loss) for loss in read_column_losses(dataset, receipts)]
    except DamagedShard as error:
        damaged.append(str(error))
    return found


def _table_line(column: ColumnStatus) -> str:
    drops = list_counts(column.drops)
    return (
        f"{column.column:<12} {column.done:>6} done {column.missing:>6} missing {column.stale:>6} stale"
        f" {column.samples:>9} samples {column.bytes / 1e6:>9.1f} MB  {'dropped: ' + drops if drops else ''}"
    ).rstrip()
