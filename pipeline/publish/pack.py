"""Packing: samples of verified shards become published shards, all members of a sample side by side."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2i_shards.extractors.format import Format
from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.publish.assignment import Choice, Target
from t2i_shards.pipeline.publish.index import Entry, dali_index, energon_index, scan
from t2i_shards.pipeline.publish.read_columns import ConcurrentTarWriter, Loaded
from t2i_shards.pipeline.shards.commit import Adopt, ShardPaths, adopt_same, commit, find_receipt
from t2i_shards.pipeline.shards.folder_store import map_file
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.under_way import count_samples

DATA, RECEIPTS, DALI = "data", "receipts", "dali"
"""Folders. DALI's indexes have one of their own, as the Hub takes so many files in a folder; Energon's may not."""
PICTURE = "jpg"


def data_path(target: Target) -> str:
    """data/train-000012.tar"""
    return f"{DATA}/{target.name}.tar"


def receipt_path(target: Target) -> str:
    """receipts/train-000012.json"""
    return f"{RECEIPTS}/{target.name}.json"


def shard_paths(target: Target) -> ShardPaths:
    """Of the tar and its receipt."""
    return ShardPaths(data_path(target), receipt_path(target))


def dali_folder(claim: Mapping[str, Any]) -> str:
    """The folder of DALI's indexes. Publications begun by earlier versions have them next to the tars."""
    return DALI if DALI in claim else DATA


def index_paths(target: Target) -> tuple[str, str]:
    """(DALI's index, Energon's)"""
    return f"{target.dali}/{target.name}.idx", f"{DATA}/{target.name}.tar.idx"


def make_indexes(target: Target, entries: Sequence[Entry], size: int) -> dict[str, bytes]:
    """Path -> bytes of both indexes. size: bytes of the tar."""
    dali, energon = index_paths(target)
    return {dali: dali_index(entries), energon: energon_index(entries, size)}


@dataclass(frozen=True)
class Written:
    """A tar that is on the disk, and what was read back of it. keys: those that were written."""

    bytes: int
    sha256: str
    keys: list[str]
    entries: list[Entry]


@dataclass
class Pack(Stage):
    """Stage: number of a target -> a published shard with its indexes.

    columns: images first. pictures: whether they go along. recipe: digest of the publication, for the receipts.
    removed: shard of the dataset -> keys that were removed since the targets were chosen: their places stay empty,
    so that no other shard changes.
    """

    dataset: Dataset
    to: Store
    choice: Choice
    columns: Sequence[str]
    pictures: bool
    recipe: str
    removed: Mapping[int, Collection[str]] = field(default_factory=dict)

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        self._threads = ThreadPoolExecutor(4)
        self._hasher = ThreadPoolExecutor(1)
        self._open: Loaded | None = None
        self._small = [form for form in formats().values() if form.is_condition and form.cell > 1]

    def __call__(self, shard: int) -> StageResult:
        target = self.choice.targets[shard]
        receipt = read_receipt(self.to, target)
        if receipt is None:
            receipt = self._pack(target)
        if receipt.recipe != self.recipe:
            raise RequestError(f"{receipt_path(target)}: belongs to another publication; use another --to")
        return StageResult({target.split: receipt})

    def _pack(self, target: Target) -> Receipt:
        # Its receipt has no time: two publications of the same dataset are the same to the byte.
        used: dict[int, Loaded] = {}
        planned = sum(len(part.indices) for part in self.choice.parts(target))
        with self.to.scratch() as scratch:
            tar = scratch / f"{target.name}.tar"
            try:
                written = self._write(self._samples(target, used), tar)
            finally:
                for loaded in used.values():
                    loaded.check()  # before anything of it is published, and before other errors of damaged bytes
            if [entry.key for entry in written.entries] != written.keys:
                raise OSError(f"{target.name} reads back with other keys than were written")
            receipt = Receipt(
                column=target.split,
                shard=target.number,
                planned=planned,
                samples=len(written.keys),
                bytes=written.bytes if written.keys else 0,
                sha256=written.sha256 if written.keys else hashlib.sha256().hexdigest(),
                keys=digest_keys(written.keys),
                recipe=self.recipe,
                input=digest_json([loaded.digest for loaded in used.values()]),
                drops={"removed": planned - len(written.keys)} if planned > len(written.keys) else {},
            )
            indexes = make_indexes(target, written.entries, written.bytes)
            return commit_published(self.to, target, tar, receipt, indexes)

    def _samples(self, target: Target, used: dict[int, Loaded]) -> Iterator[Sample]:
        """The samples of a target; `used` gets the shards that they come from."""
        for part in self.choice.parts(target):
            loaded = used[part.shard] = self._load(part.shard)
            removed = self.removed.get(part.shard, ())
            for index in part.indices.tolist():
                if loaded.samples[index].key not in removed:
                    yield self._publish(loaded.samples[index])

    def _load(self, shard: int) -> Loaded:
        if self._open is None or self._open.shard != shard:
            self._open = None  # before the next is loaded
            self._open = Loaded(self.dataset, self.columns, shard, self._threads)
        return self._open

    def _write(self, samples: Iterator[Sample], path: Path) -> Written:
        keys = []
        with open(path, "x+b", buffering=0) as file:
            writer = ConcurrentTarWriter(file, self._hasher)
            for sample in samples:
                writer.add(sample)
                keys.append(sample.key)
                count_samples()
            writer.end()
            # The disk and the digest need no interpreter, reading back does.
            synced = self._threads.submit(os.fsync, file.fileno())
            entries = scan(map_file(path))
            sha256 = writer.digest()
            synced.result()
        return Written(writer.bytes, sha256, keys, entries)

    def _publish(self, sample: Sample) -> Sample:
        members = dict(sample.members)
        for form in self._small:
            if form.members[0] in members:
                info = read_info(sample)
                members.update(enlarge(form, members, info.height, info.width))
        if not self.pictures:
            del members[PICTURE]
        return Sample(sample.key, members)


def enlarge(form: Format, members: Mapping[str, bytes | memoryview], height: int, width: int) -> dict[str, bytes]:
    """The members of a map of cells at the picture's size, as the adapter sees it."""
    own = {name: bytes(members[name]) for name in form.members}
    condition_map = form.decode(own)
    if form.size(condition_map) == (height, width):
        return own
    return form.encode(form.render(condition_map, height, width))


def commit_published(
    store: Store,
    target: Target,
    tar: Path,
    receipt: Receipt,
    indexes: Mapping[str, bytes],
    adopt: Adopt = adopt_same,
) -> Receipt:
    """Commit a published shard with its indexes; without samples only its receipt, as readers stop at its tar."""
    if not receipt.samples:
        return commit(store, None, receipt, {}, adopt, shard_paths(target))
    return commit(store, tar, receipt, indexes, adopt, shard_paths(target))


def read_receipt(store: Store, target: Target) -> Receipt | None:
    """The receipt of a published shard, or None when it is not done."""
    return find_receipt(store, shard_paths(target), target.split, target.number)
