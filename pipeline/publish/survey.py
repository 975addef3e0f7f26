"""The survey: every sample is looked at before anything is written, and where it goes is recorded in one byte."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from t2i_shards.extractors.budget import STORED_PIXELS, stored_size
from t2i_shards.pipeline.dataset.aligned import Receipts, open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.exclusion import Exclusion, licence_name
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import tar_path
from t2i_shards.pipeline.shards.read import load_tar, read_keyed
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import Sample, is_key
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.under_way import count_samples

MAX_CAPTION = 65_536
"""Bytes of a caption, as UTF-8. A longer one is no caption, and some readers choke on it."""
MEMBER = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*")
"""The name of a member, for cards and indexes."""
LEFT = 64
"""An assignment below this is the number of the split; from here on, that of the reason in `reasons`."""
SHOWN = 3


@dataclass(frozen=True)
class SurveyResult(StageResult):
    """What a look at one shard gave. assignment: uint8, and keys: 8 bytes of each key's hash; by sample of images.

    members: column -> its members, in their order; empty where the shard has no sample. licences: name (and
    address) of the pictures' own licences -> samples that are published under it. fetchable: published samples
    whose pictures others could fetch, and know again.
    """

    assignment: bytes = b""
    keys: bytes = b""
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licences: Mapping[str, int] = field(default_factory=dict)
    fetchable: int = 0


@dataclass
class Survey(Stage):
    """Stage: looks at a shard of every column; refuses what cannot be published, and writes nothing.

    shares: of the splits. groups: shard -> key -> the key that it is a duplicate of.
    """

    dataset: Dataset
    exclusion: Exclusion
    shares: Mapping[str, float]
    groups: Mapping[int, Mapping[str, str]]

    def __call__(self, shard: int) -> SurveyResult:
        aligned = open_aligned(self.dataset.store, shard, self.exclusion.columns, load_keyed)
        aligned.check()
        samples = aligned.samples
        members = {column: tuple(found[0].members) for column, found in samples.items() if found}
        keys = [sample.key for sample in samples[IMAGES]]
        removed = self.exclusion.removed.get(shard, ())
        errors = []
        for column, found in samples.items():
            errors += [
                line
                for sample in found
                if (line := _odd(sample, members[column], f"{column}/{shard_name(shard)}"))
            ]
        if errors:
            return SurveyResult({}, tuple(errors))
        known = dict[str, SampleInfo]()
        for sample in samples[IMAGES]:
            try:
                known[sample.key] = info = read_info(sample)
                problem = caption_problem(sample, info) or size_problem(sample, info)
            except DamagedShard as error:
                problem = str(error).removeprefix(f"{sample.key}: ")
            count_samples()
            if problem and sample.key not in removed:
                errors.append(f"{IMAGES}/{shard_name(shard)}: {sample.key}: {problem}")
        assignment = bytes(self._assign(key, aligned.receipts, known.get(key)) for key in keys)
        published = [
            known[key] for key, assigned in zip(keys, assignment, strict=True) if key in known and assigned < LEFT
        ]
        licences = Counter(map(licence_name, published))
        fetchable = sum(map(is_fetchable, published))
        return SurveyResult({}, tuple(errors), assignment, hash_keys(keys), members, licences, fetchable)

    def _assign(self, key: str, receipts: Receipts, info: SampleInfo | None) -> int:
        reason = self.exclusion.reason(key, receipts, info)
        if reason is not None:
            return LEFT + self.exclusion.reasons.index(reason)
        return choose_split(self.groups.get(receipts[IMAGES].shard, {}).get(key, key), self.shares)


def load_keyed(store: Store, receipt: Receipt) -> list[Sample]:
    """The samples, after size, number and keys agreed with the receipt. Packing compares the sha256."""
    return read_keyed(load_tar(store, receipt), receipt)


def is_fetchable(info: SampleInfo) -> bool:
    """Whether `rehydrate` could fetch the picture: it needs a URL, and the digest of the file."""
    return info.sha256 is not None and info.location.lower().startswith(("http://", "https://"))


def choose_split(group: str, shares: Mapping[str, float]) -> int:
    """The number of the split into which a group of duplicates falls, named by its first key.

    A function of the name and the shares alone, so what is added later moves nothing.
    """
    point = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return min(bisect_right(list(accumulate(shares.values())), point), len(shares) - 1)


def hash_keys(keys: Sequence[str]) -> bytes:
    """Eight bytes for each key."""
    return b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)


def caption_problem(sample: Sample, info: SampleInfo) -> str | None:
    """What is wrong with the sample's texts, in words."""
    if info.key != sample.key:
        return f"its json must be an object with its key, and has {info.key!r}"
    try:
        text = bytes(sample.members["txt"]).decode()
    except (ValueError, KeyError):
        return "its txt must be UTF-8"
    for caption in (text, *info.captions):
        if len(caption) > MAX_CAPTION or len(caption.encode("utf-8", "replace")) > MAX_CAPTION:
            return f"a caption must have at most {MAX_CAPTION} bytes, this one has {len(caption.encode())}"
        if not caption.isprintable():
            bad = next((c for c in caption if unicodedata.category(c) in ("Cc", "Cs") and c != "\t"), None)
            if bad is not None:
                return f"a caption must have no control characters, this one has {bad!r}"
    return None


def size_problem(sample: Sample, info: SampleInfo) -> str | None:
    """What is wrong with the size that the sample's json states, to which maps are enlarged."""
    try:
        size = stored_size(sample.members["jpg"], "JPEG")
    except (ValueError, KeyError) as error:
        return f"its picture must be a JPEG of at most {STORED_PIXELS} pixels ({error})"
    stated = (info.width, info.height)
    if stated != size:
        return f"its json states a size of {stated}, its picture has {size}"
    return None


def _odd(sample: Sample, members: tuple[str, ...], where: str) -> str | None:
    if not is_key(sample.key):
        return f"{where}: a key must be [0-9A-Za-z_-]+, not {sample.key!r}"
    if wrong := [name for name in sample.members if not MEMBER.fullmatch(name)]:
        return f"{where}: {sample.key} has the member {wrong[0]!r}, whose name must be {MEMBER.pattern}"
    if tuple(sample.members) != members:
        return (
            f"{where}: {sample.key} has the members {', '.join(sample.members)}, others {', '.join(members)}; "
            "every sample must have the same, and a key must hold no dot"
        )
    return None


def refuse_problems(surveyed: Mapping[int, SurveyResult]) -> None:
    """Raises RequestError that names the first samples which cannot be published."""
    errors = [error for shard in sorted(surveyed) for error in surveyed[shard].errors]
    if errors:
        more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise RequestError(
            f"{'; '.join(errors[:SHOWN])}{more}; nothing was written; `remove` leaves samples out by their keys"
        )


def refuse_unfetchable(dataset: Dataset, surveyed: Mapping[int, SurveyResult]) -> None:
    """Raises RequestError when not one picture could be fetched, of a publication without pictures."""
    if not any(look.fetchable for look in surveyed.values()):
        raise RequestError(
            f"{dataset.store.root}: other people's pictures would be left out, and no sample has the URL "
            "and sha256 to fetch its picture by; --with-images publishes the pictures too; nothing was written"
        )


def refuse_collisions(dataset: Dataset, surveyed: Mapping[int, SurveyResult]) -> None:
    """Raises RequestError when two samples have the same key."""
    shards = sorted(surveyed)
    keys = np.concatenate([np.frombuffer(surveyed[shard].keys, np.uint64) for shard in shards])
    at = np.concatenate([np.full(len(surveyed[shard].keys) // 8, shard) for shard in shards])
    found, counts = np.unique(keys, return_counts=True)
    for value in found[counts > 1].tolist():
        names = [
            (sample.key, shard)
            for shard in sorted(set(at[keys == value].tolist()))
            for sample in read_samples(dataset.store.load(tar_path(IMAGES, shard)))
            if hash_keys([sample.key]) == np.uint64(value).tobytes()
        ]
        for i, (key, shard) in enumerate(names):
            for other, place in names[:i]:
                if other == key:
                    raise RequestError(
                        f"the key {key} is in images/{shard_name(place)} and in images/{shard_name(shard)}; "
                        "a key must be unique; nothing was written"
                    )
