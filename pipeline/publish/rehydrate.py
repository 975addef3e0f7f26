"""Rehydrate: the pictures of a publication that has none are fetched again by the guarded client, and added.

A picture is taken only when its file has the digest that it had when the conditions were made of it, so that they
fit. What is no longer there, or another now, is left out and counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.errors import Drop, IncompleteError, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.image.geometry import Geometry, apply_placement, load_geometry
from t2i_shards.pipeline.image.stored import encode_jpeg, use_threads
from t2i_shards.pipeline.plain import list_counts
from t2i_shards.pipeline.publish.assignment import Target
from t2i_shards.pipeline.publish.edits import CARD, is_sealed, keep_edits, seal
from t2i_shards.pipeline.publish.finish import (
    check_packed,
    discard_empty,
    find_receipts,
    read_receipts,
    sums_of_shards,
)
from t2i_shards.pipeline.publish.manifest import Line, PackedShards, line_of, read_manifest
from t2i_shards.pipeline.publish.notes import commit_noted, discard_drafts, discard_unnoted, finish_noted
from t2i_shards.pipeline.publish.pack import PICTURE, dali_folder, read_receipt
from t2i_shards.pipeline.publish.plan import CLAIM, read_claim
from t2i_shards.pipeline.publish.readers import Reader, read_back
from t2i_shards.pipeline.publish.signature import hash_files, load_sums, replace_draft, sign
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, to_json
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import TarWriter
from t2i_shards.pipeline.stages.isolated import Decode, decode_in_child, decode_in_time
from t2i_shards.pipeline.stages.stage import StageResult

CHANGED = "not the picture of its digest"
NO_DIGEST = "no digest to hold it to"


class Fetching(Protocol):
    """What `Downloads` does: get ready in a worker, and hold the pictures of some URLs for a while."""

    @property
    def resources(self) -> Resources: ...

    def setup(self) -> None: ...

    def fetch(self, urls: Sequence[str], scratch: Path) -> AbstractContextManager[Any]:
        """url -> bytes; raises Drop for one that is not available."""


@dataclass
class Rehydrate:
    """Stage: number of a published shard without pictures -> the shard with them."""

    published: Store
    to: Store
    lines: Sequence[Line]
    targets: Sequence[Target]
    geometry: Geometry
    downloads: Fetching
    recipe: str

    @property
    def resources(self) -> Resources:
        return self.downloads.resources

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        self.downloads.setup()
        self._decode: Decode = decode_in_time

    def run_carefully(self, shard: int) -> StageResult:
        """The same, every picture decoded in a child process; one that the child dies over is a drop."""
        try:
            with decode_in_child() as self._decode:
                return self(shard)
        finally:
            self._decode = decode_in_time

    def __call__(self, shard: int) -> StageResult:
        target = self.targets[shard]
        receipt = read_receipt(self.to, target) or finish_noted(self.to, target, self.recipe)
        receipt = receipt or self._make(shard, target)
        return StageResult({target.split: receipt})

    def _make(self, shard: int, target: Target) -> Receipt:
        samples = PackedShards(self.published, self.lines).open(shard)
        known = [read_info(sample) for sample in samples]
        drops = Counter[str]()
        keys = []
        with self.to.scratch() as scratch:
            tar = scratch / f"{target.name}.tar"
            urls = [info.location for info in known]
            with self.downloads.fetch(urls, scratch) as fetched, open(tar, "xb") as file:
                writer = TarWriter(file)
                for sample, info in zip(samples, known, strict=True):
                    try:
                        picture = self._picture(fetched, info)
                    except Drop as drop:
                        drops[drop.reason] += 1
                        continue
                    writer.add(Sample(sample.key, {PICTURE: picture, **sample.members}))
                    keys.append(sample.key)
                sha256 = writer.close()
            receipt = Receipt(
                column=target.split,
                shard=target.number,
                planned=len(samples),
                samples=len(keys),
                bytes=writer.bytes,
                sha256=sha256,
                keys=digest_keys(keys),
                recipe=self.recipe,
                input=self.lines[shard].sha256,
                drops=dict(sorted(drops.items())),
            )
            return commit_noted(self.to, target, tar, receipt)

    def _picture(self, fetched: Any, info: SampleInfo) -> bytes:
        """The stored picture, the same to the byte as ingest made it. Raises Drop."""
        if not info.sha256:
            raise Drop(NO_DIGEST)
        content: bytes = fetched[info.location]
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise Drop(CHANGED)
        decoded = self._decode(content, self.geometry, WEB_FORMATS)
        placement = self.geometry.place(*decoded.size)
        if placement.crop[2:] != (info.width, info.height):
            raise Drop("another size than its conditions")
        picture = apply_placement(decoded.picture, placement)
        return encode_jpeg(picture, self.geometry.quality, self.geometry.stored_chroma)


def target_of(line: Line, dali: str) -> Target:
    """The target that a line of the manifest names."""
    split, _, number = Path(line.name).stem.rpartition("-")
    return Target(split, int(number), dali)


def plan_rehydrate(published: Store, to: Store, downloads: Fetching) -> Rehydrate:
    """The stage, its place claimed. RequestError when nothing is to be fetched, or the place is another's."""
    lines = read_manifest(published)
    claim = read_claim(published) or {}
    if claim.get("layout") != "packed" or claim.get("pictures") is not False:
        raise RequestError(f"{published.root} must be a packed publication without pictures")
    record = {**claim, "pictures": True, "rehydrated": digest_json([line.sha256 for line in lines])}
    begun = read_claim(to)
    if begun is None and not to.names(""):
        to.create_bytes(CLAIM, to_json(record))
        begun = read_claim(to)
    if begun != record:
        raise RequestError(f"{to.root} must be empty or hold this very set; use another --out")
    targets = [target_of(line, dali_folder(claim)) for line in lines]
    return Rehydrate(
        published, to, lines, targets, load_geometry(claim["geometry"]), downloads, digest_json(record)
    )


def find_left(stage: Rehydrate) -> list[int]:
    """The numbers of the shards to be made: those without a receipt, and those that were damaged since."""
    check_packed(stage.to, stage.targets)
    done = find_receipts(stage.to, stage.targets)
    discard_unnoted(stage.to, [target for target in stage.targets if target not in done])
    return [number for number, target in enumerate(stage.targets) if target not in done]


@dataclass(frozen=True)
class Rehydrated:
    """lines: the shards with pictures; drops: samples left out, by reason; unchecked: readers not installed."""

    lines: tuple[Line, ...]
    drops: Mapping[str, int] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()


def finish_rehydrated(stage: Rehydrate, readers: Mapping[str, Reader]) -> Rehydrated:
    """Read it back, and sign it. Raises IncompleteError when a shard is not done."""
    to = stage.to
    receipts = read_receipts(to, stage.targets)
    discard_drafts(to)
    discard_empty(to, receipts)  # the tar of an attempt that came after one that got no picture
    drops = Counter[str]()
    for receipt in receipts.values():
        drops.update(receipt.drops)
    made = zip(stage.lines, receipts.items(), strict=True)
    lines = [line_of(*item, (PICTURE, *line.members)) for line, item in made if item[1].samples]
    if not lines:
        raise IncompleteError(f"not one picture is available: {dict(drops)}")
    signed = _write_card(to, add_pictures(bytes(stage.published.load(CARD)).decode(), drops))
    unchecked = read_back(to, lines, readers)
    sums = {**hash_files(to, [*signed, CLAIM]), **sums_of_shards(to, receipts)}
    manifest = b"".join(line.encode() for line in lines)
    sign(to, manifest, sums, lambda: find_receipts(to, stage.targets) == receipts)
    return Rehydrated(tuple(lines), dict(drops), tuple(unchecked))


def _write_card(to: Store, ours: bytes) -> tuple[str, ...]:
    """Write the card, unless it is signed already or was edited. The names of the files to sign."""
    sums = load_sums(to) or {}
    if CARD in to.names(""):
        theirs = bytes(to.load(CARD))
        if sums.get(CARD) == hashlib.sha256(theirs).hexdigest():
            return (CARD,)
        if not is_sealed(theirs):
            replace_draft(to, CARD, keep_edits(f"{to.root}/{CARD}", theirs, ours))
            return ()
    replace_draft(to, CARD, ours)
    return (CARD,)


def add_pictures(card: str, drops: Mapping[str, int]) -> bytes:
    """The card of the set with its pictures: a copy for one's own use."""
    front = card.replace("  features:\n", f"  features:\n  - name: {PICTURE}\n    dtype: image\n", 1)
    return seal(
        f"{front}\n## This copy\n\nThe pictures were fetched again for the use of whoever did so; they are not to "
        f"be published with it. Left out, by reason: {list_counts(drops) or 'none'}.\n".encode()
    )
