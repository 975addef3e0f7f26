"""The receipt: the only sign that a shard is done."""

from __future__ import annotations

import builtins
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.sample import digest_keys

FORMAT = 1
MOST_SAMPLES = 10**7
"""More than a shard can have: orders of samples are made in memory, from receipts alone."""
MOST_SHARDS = 10**7
"""More than a dataset can have: a damaged number must not have anyone count for hours."""
SHA256 = re.compile("[0-9a-f]{64}")
DIGESTS = ("sha256", "keys", "input", "rows", "first")
"""Fields of a receipt that are digests; those from `input` on may be None."""
SampleCount = Annotated[int, msgspec.Meta(ge=0, le=MOST_SAMPLES)]
ShardNumber = Annotated[int, msgspec.Meta(ge=0, lt=MOST_SHARDS)]


def shard_name(shard: int) -> str:
    """000012: six digits, so that a listing is in the order of the plan."""
    return f"{shard:06d}"


def null_not_finite(value: Any) -> Any:
    """The same with None for each number that is not finite, which JSON cannot express."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: null_not_finite(of) for name, of in value.items()}
    return [null_not_finite(of) for of in value] if isinstance(value, (list, tuple)) else value


def to_json(record: Any) -> bytes:
    """JSON with sorted keys: the same record gives the same bytes."""
    return (_dump(record, indent=1) + "\n").encode()


def to_compact_json(record: Any) -> bytes:
    """The same on one line: ten times as fast, for records written by the million."""
    return _dump(record, separators=(",", ":")).encode()


def _dump(record: Any, **layout: Any) -> str:
    try:
        return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(null_not_finite(record), sort_keys=True, ensure_ascii=False, allow_nan=False, **layout)


def digest_json(record: Any) -> str:
    """sha256 of a JSON record, whatever the order of its keys."""
    return hashlib.sha256(to_json(record)).hexdigest()


@dataclass(frozen=True)
class Receipt:
    """What shard `shard` of `column` holds. `samples + sum(drops.values()) == planned`, always.

    bytes, sha256: of the tar. keys: digest of the keys in order (`digest_keys`). recipe: digest of the
    column's recipe. input: identity of the images shard it was made from, None for images themselves.
    dropped: the samples of the images shard that this column lacks, with the reason of each; readers may
    skip these keys and no others. rows: sha256 of the images shard's rows.parquet; None in other columns, and in
    receipts of earlier versions. seconds: the worker's time, for the report; it is part of no digest.
    first: of a tar from which samples were erased, the sha256 of the first tar that had this name. erased: their
    keys; the samples are there, but blank.
    """

    column: str
    shard: ShardNumber
    planned: SampleCount
    samples: Count
    bytes: Count
    sha256: str
    keys: str
    recipe: str
    input: str | None = None
    drops: Mapping[str, Count] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    rows: str | None = None
    seconds: float = 0.0
    first: str | None = None
    erased: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """What the shard goes by in digests of content and of order, which erasing samples does not change."""
        return self.first or self.sha256

    def encode(self) -> builtins.bytes:
        # As earlier versions wrote it.
        unsaid = {name for name in ("rows", "first", "erased") if getattr(self, name) in (None, ())}
        return to_json({name: value for name, value in asdict(self).items() if name not in unsaid})

    @classmethod
    def decode(cls, data: builtins.bytes | memoryview, name: str) -> Receipt:
        """Raises DamagedShard when `data`, read from `name`, is no receipt or its counts don't add up."""
        try:
            receipt = decode_record(data, cls, closed=True)
        except BadRecord as error:
            raise DamagedShard(tell_damage(name, f"not a receipt ({error})")) from None
        dropped = sum(receipt.drops.values())
        if receipt.format != FORMAT:
            raise DamagedShard(tell_damage(name, f"a receipt must have format {FORMAT}, has {receipt.format!r}"))
        for field_name in DIGESTS:
            digest = getattr(receipt, field_name)
            if digest is None and field_name in DIGESTS[2:]:
                continue
            if not SHA256.fullmatch(str(digest)):
                raise DamagedShard(
                    tell_damage(name, f"{field_name} must be 64 hexadecimal digits, not {str(digest)[:100]!r}")
                )
        if (receipt.first is None) != (not receipt.erased):
            raise DamagedShard(tell_damage(name, "a receipt must have both of first and erased, or none of them"))
        if receipt.samples + dropped != receipt.planned:
            raise DamagedShard(
                tell_damage(
                    name,
                    "samples + drops must be what was planned, "
                    f"but {receipt.samples} + {dropped} != {receipt.planned}",
                )
            )
        return receipt


def check_size(path: str, found: int, expected: int) -> None:
    """Raises DamagedShard when a shard has another number of bytes than its receipt says."""
    if found != expected:
        raise DamagedShard(f"{path}: must have {expected} bytes, has {found}")


def check_sha256(path: str, found: str, expected: str) -> None:
    """Raises DamagedShard when a shard has another digest than its receipt says."""
    if found != expected:
        raise DamagedShard(f"{path}: must have sha256 {expected[:12]}…, has {found[:12]}…")


def check_keys(path: str, found: Sequence[str], samples: int, keys: str | None) -> None:
    """Raises DamagedShard when a shard has other keys than its receipt says. keys: their digest, if known."""
    if len(found) != samples:
        raise DamagedShard(f"{path}: must have {number_of(samples, 'sample')}, has {len(found)}")
    if keys not in (None, digest_keys(found)):
        raise DamagedShard(f"{path}: its keys are not those of its receipt")
