"""The plan: which rows each shard was asked to hold. Written once, before any picture is read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Annotated

import msgspec
import pyarrow as pa

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.dataset.erased_plan import RECORD, first_digest, record_path
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import MOST_SHARDS, digest_json, shard_name, to_compact_json, to_json
from t2i_shards.pipeline.shards.sample import KEY, is_key
from t2i_shards.pipeline.shards.store import AT_ONCE, Store
from t2i_shards.pipeline.sources.row import Row, decode_plan, decode_plan_table, encode_plan

ShardCount = Annotated[int, msgspec.Meta(ge=1, le=MOST_SHARDS)]


LISTED = 100
"""Shards of a segment for which the digests of plan files are kept one by one, next to the digest of all."""
THOUSAND = 1000


def digests_path(first: int) -> str:
    """plan/digests-001000.json: of this shard and those behind it, a thousand or to the end of their segment."""
    return f"plan/digests-{shard_name(first)}.json"


def plan_path(shard: int) -> str:
    """plan/000012.parquet"""
    return f"plan/{shard_name(shard)}.parquet"


@dataclass(frozen=True)
class Segment:
    """Shards that were planned together: `first`, how many, their rows, and the digest of their plan files.

    new: how many of the rows were in no plan before; 0 in the first segment, whose rows all are.
    """

    first: Count
    shards: ShardCount
    samples: Count
    plan: str
    new: Count = 0

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.shards)

    def encode(self) -> bytes:
        """The file of a supplement; as earlier versions wrote it where `new` is 0."""
        return to_json({name: value for name, value in asdict(self).items() if name != "new" or value})


def write_segment(store: Store, rows: Iterable[Row], shard_size: int, first: int = 0) -> Segment:
    """Write the plan files of `rows`, `shard_size` to a shard. Keys must ascend, so they are unique.

    Raises RequestError for a key that does not, or where files exist that were planned from other rows.
    """
    return end_segment(store, first, *write_shards(store, rows, shard_size, first))


def end_segment(store: Store, first: int, digests: Sequence[str], samples: int) -> Segment:
    """The segment whose plan files are there; keeps their digests where there are many."""
    keep_digests(store, first, digests)
    return Segment(first, len(digests), samples, digest_json(digests))


def keep_digests(store: Store, first: int, digests: Sequence[str]) -> None:
    """Write down the digests of the plan files of a segment, for `plan_digests`, where there are many."""
    for start in range(0, len(digests), THOUSAND) if len(digests) >= LISTED else ():
        store.create_bytes(digests_path(first + start), to_compact_json(digests[start : start + THOUSAND]))


def write_shards(store: Store, rows: Iterable[Row], shard_size: int, first: int) -> tuple[list[str], int]:
    """(sha256 of each file, rows in all) of the plan files that `write_segment` makes."""
    digests, samples = list[str](), 0
    for batch in _batch_rows(rows, shard_size):
        digests.append(_write_shard(store, first + len(digests), batch))
        samples += len(batch)
    return digests, samples


def _batch_rows(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    last = ""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        for row in batch:
            # Rising keys are unique without a set of all of them, which a hundred million would not fit into.
            if not is_key(row.key) or row.key <= last:
                raise RequestError(
                    f"a key must be {KEY.pattern}, and come after the one before it ({last!r}), not {row.key!r}"
                )
            last = row.key
        yield batch


def _write_shard(store: Store, shard: int, rows: list[Row]) -> str:
    data, path = encode_plan(rows), plan_path(shard)
    digest = hashlib.sha256(data).hexdigest()
    if not store.create_bytes(path, data):
        found = hashlib.sha256(store.load(path)).hexdigest()
        if digest not in (found, first_digest(store, path, found)):
            raise RequestError(
                f"{store.root}/{path} was planned from other rows or options; "
                "use the same ones to continue, or another --out"
            )
    return digest


def read_plan_table(store: Store, shard: int) -> pa.Table:
    """The plan file of a shard. Raises DamagedShard."""
    return decode_plan_table(_load(store, shard), plan_path(shard))


def read_plan(store: Store, shard: int, digest: str | None = None) -> list[Row]:
    """The rows that the shard was asked to hold. digest: of the file, if known. Raises DamagedShard."""
    data = _load(store, shard)
    found = hashlib.sha256(data).hexdigest()
    if digest not in (None, found) and digest != first_digest(store, plan_path(shard), found):
        raise DamagedShard(tell_damage(plan_path(shard), "its digest is not the one that was written down"))
    return decode_plan(data, plan_path(shard))


def _load(store: Store, shard: int) -> memoryview:
    try:
        return store.load(plan_path(shard))
    except FileNotFoundError:
        raise DamagedShard(tell_damage(plan_path(shard), "missing")) from None


def verify_segment(store: Store, segment: Segment) -> list[str]:
    """A line for each plan file that is gone, and one when the plan is not the one that was written down."""
    return digest_segment(store, segment)[1]


def digest_segment(store: Store, segment: Segment) -> tuple[list[str], list[str]]:
    """(the digests with which its plan files were planned, the lines of `verify_segment`)"""
    erased = {name for name in store.names("plan") if name.endswith(RECORD)}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(lambda shard: _digest(store, plan_path(shard), erased), segment.numbers))
    digests = [digest for digest in found if digest is not None]
    pairs = zip(segment.numbers, found, strict=True)
    errors = [tell_damage(plan_path(shard), "missing") for shard, digest in pairs if digest is None]
    if not errors and digest_json(digests) != segment.plan:
        where = "dataset.json" if segment.first == 0 else "its supplement"
        errors.append(f"plan: its digest is not the one in {where}")
    return digests, errors


def _digest(store: Store, path: str, erased: Collection[str]) -> str | None:
    try:
        found = hashlib.sha256(store.load(path)).hexdigest()
    except FileNotFoundError:
        return None
    return first_digest(store, path, found) if record_path(path).removeprefix("plan/") in erased else found


def supplement_path(number: int) -> str:
    """supplements/000001.json"""
    return f"supplements/{shard_name(number)}.json"


def read_supplements(store: Store) -> list[Segment]:
    """The segments that were planned after the first, from rows that had failed. Raises DamagedShard."""
    found: list[Segment] = []
    for number in count(1):
        path = supplement_path(number)
        try:
            segment = decode_record(store.load(path), Segment, closed=True)
        except FileNotFoundError:
            return found
        except BadRecord as error:
            raise DamagedShard(tell_damage(path, f"not a supplement ({error})")) from None
        if found and segment.first != found[-1].numbers.stop:
            raise DamagedShard(f"{path}: must begin with shard {found[-1].numbers.stop}, not {segment.first}")
        found.append(segment)
    raise AssertionError("count() ends never")


def add_supplement(store: Store, number: int, segment: Segment) -> None:
    """Make the segment a part of the dataset. RequestError when another one is there."""
    record = segment.encode()
    path = supplement_path(number)
    if not store.create_bytes(path, record) and bytes(store.load(path)) != record:
        raise RequestError(f"{store.root}/{path} was planned from other rows")
