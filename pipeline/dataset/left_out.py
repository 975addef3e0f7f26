"""What the plan leaves out, and what was changed in its rows: counts by reason, and the names of files.

    plan/left_out.json             the counts of the first plan, as published copies of it have them
    plan/left_out/000000.json      counts, notes, and which tables have the names; the last of these records counts
    plan/left_out/81bc01….parquet  reason and location, in the order of the source; its name is its sha256

`ingest --add-new` looks at all files again, and adds a record where what it leaves out is not the same any more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.dataset.erased_plan import erased_location
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import shard_name, to_json
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table
from t2i_shards.pipeline.sources.captions import SHORTENED
from t2i_shards.pipeline.sources.left_out import LeftOut, Named
from t2i_shards.pipeline.sources.tars.samples import MEMBER_NOTES

LEFT_OUT = "plan/left_out.json"
"""How many rows the source left out on purpose, by reason."""
NOTED = "plan/notes.json"
"""How often the source changed something of a row, by what it did."""
NOTES = frozenset({SHORTENED}) | MEMBER_NOTES
"""What a source counts that leaves no row out."""
FOLDER = "plan/left_out"
SCHEMA = pa.schema([("reason", pa.string()), ("location", pa.string())])


@dataclass(frozen=True)
class Record:
    """counts: of what was left out, and of notes. tables: the digests of those with the names, in their order."""

    counts: dict[str, Count]
    tables: tuple[str, ...] = ()


class Recorder:
    """Writes down what a source leaves out. Make the plan with `left_out`, then call `close`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: list[str] = []
        self.left_out = LeftOut(self._write)

    def _write(self, named: Sequence[Named]) -> None:
        self._tables.append(_write_table(self._store, named))

    def close(self) -> None:
        """Write the record, unless the last one says the same."""
        self.left_out.flush()
        record = Record(dict(self.left_out), tuple(self._tables))
        records = _read_records(self._store)
        counted = _read_counts(self._store, LEFT_OUT) | _read_counts(self._store, NOTED)
        if record != (records[-1] if records else Record(counted)):
            self._store.create_bytes(_record_path(len(records)), to_json(asdict(record)))

    def write_counts(self) -> None:
        """Write the counts of the first plan."""
        for path, chosen in ((LEFT_OUT, self.left_out.keys() - NOTES), (NOTED, self.left_out.keys() & NOTES)):
            if chosen:
                self._store.create_bytes(path, to_json({name: self.left_out[name] for name in chosen}))


def read_left_out(store: Store) -> dict[str, int]:
    """How many rows the source left out on purpose, by reason. Raises DamagedShard."""
    if records := _read_records(store):
        return {reason: count for reason, count in records[-1].counts.items() if reason not in NOTES}
    return _read_counts(store, LEFT_OUT)


def read_notes(store: Store) -> dict[str, int]:
    """How often the source changed something of a row, by what it did. Raises DamagedShard."""
    if records := _read_records(store):
        return {note: count for note, count in records[-1].counts.items() if note in NOTES}
    return _read_counts(store, NOTED)


def read_named(store: Store) -> Iterator[Named]:
    """What was left out, by name, in the order of the source. Raises DamagedShard.

    Rows of tables are counted alone, and so is what an earlier version left out.
    """
    records = _read_records(store)
    for digest in records[-1].tables if records else ():
        yield from _read_table(store, digest)


def count_unnamed(named: Sequence[Named], counts: Mapping[str, int]) -> int:
    """How many of those that were left out have no name."""
    return (Counter(counts) - Counter(one.reason for one in named)).total()


def erase_left_out(store: Store, erased: Collection[str]) -> None:
    """Put its hash in the place of each location whose `erased_location` is one of these; in all records.

    A new table is made before a record names it, and the old one goes last. Raises DamagedShard.
    """
    records = _read_records(store)
    new = {
        digest: _write_table(store, [_erase(one, erased) for one in _read_table(store, digest)])
        for digest in dict.fromkeys(digest for record in records for digest in record.tables)
    }
    for number, record in enumerate(records):
        tables = tuple(new[digest] for digest in record.tables)
        if tables != record.tables:
            store.replace_bytes(_record_path(number), to_json(asdict(replace(record, tables=tables))))
    kept = {f"{digest}.parquet" for digest in new.values()}
    there = [name for name in store.names(FOLDER) if name.endswith(".parquet")]
    store.discard_all([f"{FOLDER}/{name}" for name in there if name not in kept])


def _erase(one: Named, erased: Collection[str]) -> Named:
    location = erased_location(one.location)
    return Named(one.reason, location) if location in erased else one


def _record_path(number: int) -> str:
    return f"{FOLDER}/{shard_name(number)}.json"


def _read_records(store: Store) -> list[Record]:
    """All that there are, the first one first. Raises DamagedShard."""
    names = [name for name in store.names(FOLDER) if name.endswith(".json")]
    return [_read_record(store, f"{FOLDER}/{name}") for name in names]


def _read_record(store: Store, path: str) -> Record:
    try:
        return decode_record(store.load(path), Record, closed=True)
    except BadRecord as error:
        raise DamagedShard(tell_damage(path, str(error))) from None


def _write_table(store: Store, named: Sequence[Named]) -> str:
    columns = list(zip(*named, strict=True))
    data = encode_table(pa.table([pa.array(column) for column in columns], SCHEMA))
    digest = hashlib.sha256(data).hexdigest()
    store.create_bytes(f"{FOLDER}/{digest}.parquet", data)
    return digest


def _read_table(store: Store, digest: str) -> list[Named]:
    path = f"{FOLDER}/{digest}.parquet"
    try:
        data = store.load(path)
    except FileNotFoundError:
        raise DamagedShard(tell_damage(path, "missing")) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedShard(tell_damage(path, "its sha256 is not its name"))
    table = decode_table(data, path, SCHEMA, whole=SCHEMA.names)
    return [Named(*pair) for pair in zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)]


def _read_counts(store: Store, path: str) -> dict[str, int]:
    try:
        return dict(decode_record(store.load(path), dict[str, Count]))
    except FileNotFoundError:
        return {}
    except BadRecord as error:
        raise DamagedShard(tell_damage(path, f"must be counts by reason: {error}")) from None
