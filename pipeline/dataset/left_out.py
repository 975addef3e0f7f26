"""What the plan leaves out, and what was changed in its rows: counts by reason, and the names of files.

    plan/left_out.json             the counts of the first plan; in a published copy those of the newest one
    plan/left_out/000000.json      counts, notes, and which tables have the names; the last of these records counts
    plan/left_out/81bc01….parquet  reason and location, in the order of the source; its name is its sha256

`ingest --add-new` looks at all files again, and adds a record where what it leaves out is not the same any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from t2i_shards.pipeline.dataset.erased_plan import erased_location, is_erased
from t2i_shards.pipeline.dataset.left_out_files import (
    FOLDER,
    Record,
    read_counts,
    read_records,
    read_table,
    record_path,
    write_table,
)
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.captions import SHORTENED
from t2i_shards.pipeline.sources.folder import name_pictures
from t2i_shards.pipeline.sources.left_out import LeftOut, Named
from t2i_shards.pipeline.sources.tars.samples import MEMBER_NOTES

LEFT_OUT = "plan/left_out.json"
"""How many rows the source left out on purpose, by reason."""
NOTED = "plan/notes.json"
"""How often the source changed something of a row, by what it did."""
NOTES = frozenset({SHORTENED}) | MEMBER_NOTES
"""What a source counts that leaves no row out."""


class Recorder:
    """Writes down what a source leaves out. Make the plan with `left_out`, then call `close`.

    erased: as `erase_left_out` has it.
    """

    def __init__(self, store: Store, erased: Collection[str] = ()) -> None:
        self._store = store
        self._erased = erased
        self._tables: list[str] = []
        self.left_out = LeftOut(self._write)

    def _write(self, named: Sequence[Named]) -> None:
        shown = [_erase(one, self._erased) for one in named] if self._erased else named
        self._tables.append(write_table(self._store, shown))

    def close(self) -> None:
        """Write the record, unless the last one says the same."""
        self.left_out.flush()
        record = Record(dict(self.left_out), tuple(self._tables))
        records = read_records(self._store)
        counted = read_counts(self._store, LEFT_OUT) | read_counts(self._store, NOTED)
        if record != (records[-1] if records else Record(counted)):
            self._store.create_bytes(record_path(len(records)), to_json(asdict(record)))

    def write_counts(self) -> None:
        """Write the counts of the first plan."""
        for path, chosen in ((LEFT_OUT, self.left_out.keys() - NOTES), (NOTED, self.left_out.keys() & NOTES)):
            if chosen:
                self._store.create_bytes(path, to_json({name: self.left_out[name] for name in chosen}))


def read_left_out(store: Store) -> dict[str, int]:
    """How many rows the source left out on purpose, by reason. Raises DamagedShard."""
    if records := read_records(store):
        return {reason: count for reason, count in records[-1].counts.items() if reason not in NOTES}
    return read_counts(store, LEFT_OUT)


def read_notes(store: Store) -> dict[str, int]:
    """How often the source changed something of a row, by what it did. Raises DamagedShard."""
    if records := read_records(store):
        return {note: count for note, count in records[-1].counts.items() if note in NOTES}
    return read_counts(store, NOTED)


def list_counts_of_plans(store: Store) -> dict[str, list[dict[str, int]]]:
    """Path in a published copy -> counts of each plan, the newest one first, where that has any. Raises
    DamagedShard."""
    first = read_counts(store, LEFT_OUT) | read_counts(store, NOTED)
    plans = [*(record.counts for record in reversed(read_records(store))), first]
    left_out = [{name: plan[name] for name in plan if name not in NOTES} for plan in plans]
    notes = [{name: plan[name] for name in plan if name in NOTES} for plan in plans]
    return {path: counts for path, counts in ((LEFT_OUT, left_out), (NOTED, notes)) if counts[0]}


def read_named(store: Store) -> Iterator[Named]:
    """What was left out, by name, in the order of the source. Raises DamagedShard.

    Rows of tables are counted alone, and so is what an earlier version left out.
    """
    records = read_records(store)
    for digest in records[-1].tables if records else ():
        yield from read_table(store, digest)


def count_unnamed(named: Sequence[Named], counts: Mapping[str, int]) -> int:
    """How many of those that were left out have no name."""
    return (Counter(counts) - Counter(one.reason for one in named)).total()


def erase_left_out(store: Store, erased: Collection[str]) -> None:
    """Put its hash in the place of each location whose `erased_location` is one of these; in all records.

    A new table is made before a record names it, and the old one goes last. Raises DamagedShard.
    """
    records = read_records(store)
    new = {
        digest: write_table(store, [_erase(one, erased) for one in read_table(store, digest)])
        for digest in dict.fromkeys(digest for record in records for digest in record.tables)
    }
    for number, record in enumerate(records):
        tables = tuple(new[digest] for digest in record.tables)
        if tables != record.tables:
            store.replace_bytes(record_path(number), to_json(asdict(replace(record, tables=tables))))
    kept = {f"{digest}.parquet" for digest in new.values()}
    there = [name for name in store.names(FOLDER) if name.endswith(".parquet")]
    store.discard_all([f"{FOLDER}/{name}" for name in there if name not in kept])


def _erase(one: Named, erased: Collection[str]) -> Named:
    """With a hash for its location, where that is of an erased row or of the caption file of its picture."""
    places = (one.location, *name_pictures(one.location))
    gone = any(erased_location(place) in erased for place in places)
    return Named(one.reason, erased_location(one.location)) if gone and not is_erased(one.location) else one
