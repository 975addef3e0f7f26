"""Looking up rows by what is known of their pictures: where each is, and what became of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.erased_plan import erased_location, is_erased
from t2i_shards.pipeline.dataset.name_index import find_shards, list_locations, list_paths, list_urls
from t2i_shards.pipeline.dataset.outcomes import OK, read_rows
from t2i_shards.pipeline.dataset.tombstones import read_removed
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import AT_ONCE
from t2i_shards.pipeline.sources.row import Row

NOT_MADE, SAMPLE, REMOVED, ERASED = "not made yet", "sample", "removed", "erased"


@dataclass(frozen=True)
class Query:
    """A row has to have one of each kind that is asked for."""

    key: tuple[str, ...] = ()
    """Keys."""
    path: tuple[str, ...] = ()
    """Paths of pictures: as the source has them, or of files of this machine; * and ? stand for any characters."""
    url: tuple[str, ...] = ()
    """Addresses of pictures; * and ? stand for any characters."""
    caption: tuple[str, ...] = ()
    """Texts that a caption has somewhere in it, in small or capital letters."""
    sha256: tuple[str, ...] = ()
    """sha256 of original files."""

    def check(self) -> None:
        """Raises RequestError where nothing is asked for."""
        if not any(asdict(self).values()):
            raise RequestError("find needs at least one of --key, --path, --url, --caption and --sha256")


@dataclass(frozen=True)
class FoundRow:
    """shard: the one that has the sample, else the last that was asked for it. location: of the picture.

    state: "sample", "removed", "erased", "not made yet", or "dropped: " and the reason. sha256: of the original
    file, None where it was not seen.
    """

    key: str
    shard: int
    state: str
    location: str
    captions: tuple[str, ...]
    sha256: str | None


def find(dataset: Dataset, query: Query) -> list[FoundRow]:
    """The rows that the query names, in the order of their keys. Raises DamagedShard."""
    done, shards = dataset.done(IMAGES), _choose_shards(dataset, query)
    found: dict[str, FoundRow] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for rows in threads.map(lambda shard: _find_in(dataset, shard, shard in done, query), shards):
            for row in rows:
                # One that was tried again is in several shards, and its sample in one of them.
                if row.key not in found or found[row.key].state not in (SAMPLE, ERASED):
                    found[row.key] = row
    removed = read_removed(dataset.store)
    return [
        replace(row, state=REMOVED) if key in removed and row.state != ERASED else row
        for key, row in sorted(found.items())
    ]


def _choose_shards(dataset: Dataset, query: Query) -> Sequence[int]:
    """Those that may hold such a row: all, where nothing is asked for by a whole name."""
    places = _list_places(query, dataset.description.source)
    addresses, locations = ([*names, *map(erased_location, names)] for names in (query.url, places))
    for names in (query.key, [text.lower() for text in query.sha256], addresses, locations):
        if names and not any(sign in name for name in names for sign in "*?["):
            return find_shards(dataset, names)
    return dataset.shards


def _find_in(dataset: Dataset, shard: int, done: bool, query: Query) -> list[FoundRow]:
    rows = [row for row in dataset.plan(shard) if _may_match(row, query, dataset.description.source)]
    outcomes = _read_outcomes(dataset, shard) if rows and done else {}
    without = query.caption and outcomes and any(not row.captions for row in rows)
    captions = _read_captions(dataset, shard) if without else {}
    described = (_describe(row, shard, outcomes.get(row.key), captions.get(row.key, ())) for row in rows)
    return [row for row in described if _matches(row, query)]


def _may_match(row: Row, query: Query, source: Mapping[str, Any]) -> bool:
    """Whether the row is one that is asked for, by what the plan alone knows."""
    return (
        (not query.key or row.key in query.key)
        and (
            not query.path
            or _any_like(list_paths(row, source), map(_clean_path, query.path))
            or _was_at(row, _list_places(query, source))
        )
        and (not query.url or _any_like(list_urls(row), query.url) or _was_at(row, query.url))
        and (not query.caption or not row.captions or _any_has(row.captions, query.caption))
    )


def _list_places(query: Query, source: Mapping[str, Any]) -> list[str]:
    """The locations that a row of such a path may have."""
    return [place for path in query.path for place in list_locations(_clean_path(path), source)]


def _was_at(row: Row, places: Iterable[str]) -> bool:
    """Whether the row was erased and had one of these locations or addresses."""
    return is_erased(row.location) and not set(list_urls(row)).isdisjoint(map(erased_location, places))


def _clean_path(text: str) -> str:
    return text if "://" in text else os.path.normpath(text)


def _any_like(names: Iterable[str], asked: Iterable[str]) -> bool:
    patterns = list(asked)
    return any(name and (name == text or fnmatchcase(name, text)) for name in names for text in patterns)


def _any_has(captions: Iterable[str], texts: Iterable[str]) -> bool:
    wanted = [text.casefold() for text in texts]
    return any(text in caption.casefold() for caption in captions for text in wanted)


def _read_outcomes(dataset: Dataset, shard: int) -> dict[str, tuple[str, str | None]]:
    """key -> (status, sha256)"""
    receipt = load_receipt(dataset.store, IMAGES, shard)
    assert receipt is not None, "the shard is done"
    table = read_rows(dataset.store, receipt)
    columns = (table[name].to_pylist() for name in ("key", "status", "sha256"))
    known = {key: (status, sha256) for key, status, sha256 in zip(*columns, strict=True)}
    return known | {key: (ERASED, known[key][1]) for key in known.keys() & set(receipt.erased)}


def _read_captions(dataset: Dataset, shard: int) -> dict[str, tuple[str, ...]]:
    """key -> the captions of its sample, for rows whose plan has none."""
    return {sample.key: read_info(sample).captions for sample in dataset.load(IMAGES, shard)}


def _describe(row: Row, shard: int, outcome: tuple[str, str | None] | None, captions: tuple[str, ...]) -> FoundRow:
    status, sha256 = outcome or (None, None)
    states = {None: NOT_MADE, OK: SAMPLE, ERASED: ERASED}
    state = states.get(status, f"dropped: {status}")
    return FoundRow(row.key, shard, state, row.location, row.captions or captions, sha256 or row.digest)


def _matches(row: FoundRow, query: Query) -> bool:
    """Whether the row is asked for by what only its shard knows as well."""
    return (not query.sha256 or row.sha256 in [text.lower() for text in query.sha256]) and (
        not query.caption or _any_has(row.captions, query.caption)
    )


def count_states(rows: Iterable[FoundRow]) -> dict[str, int]:
    """state -> how many of the rows are in it"""
    return dict(Counter(row.state for row in rows))
