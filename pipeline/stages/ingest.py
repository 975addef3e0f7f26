"""Ingest: the rows of a plan become the images column, and columns of the source's own ground truth."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors import budget
from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.format import Format
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import commit_attempt, read_seen, write_seen
from t2i_shards.pipeline.dataset.erased_plan import is_erased
from t2i_shards.pipeline.dataset.outcomes import OK, count_drops, digest_rows, encode_rows, rows_path
from t2i_shards.pipeline.dataset.plan_digests import PlanReader
from t2i_shards.pipeline.errors import DamagedShard, Drop, IncompleteError, RequestError, describe_error
from t2i_shards.pipeline.image.decode import Decoded
from t2i_shards.pipeline.image.geometry import apply_placement, load_geometry
from t2i_shards.pipeline.image.phash import hash_greys, shrink_grey
from t2i_shards.pipeline.image.stored import encode_jpeg, use_threads
from t2i_shards.pipeline.shards.commit import commit, commit_samples, load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.sources.base import Opener, Original, Source
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.isolated import Decode, decode_in_child, decode_in_time
from t2i_shards.pipeline.stages.stage import FailureLimit, StageResult, refuse_total_failure
from t2i_shards.pipeline.under_way import count_samples

TOGETHER = 64
"""Pictures whose hashes and JSON are made at once. More are no faster, and what a tar knows of a picture may take
ten times as much memory as its JSON."""


@dataclass
class _Kept:
    """The rows of one shard that became samples, and those that did not."""

    samples: list[Sample] = field(default_factory=list)
    truth: dict[str, list[Sample]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Made:
    """A row that becomes a sample. outcome: its row in the table of rows. maps: column -> members. small: what its
    hashes are made of.
    """

    outcome: dict[str, Any]
    info: SampleInfo
    jpeg: bytes
    maps: Mapping[str, Mapping[str, bytes]]
    small: dict[str, np.ndarray]


@dataclass
class Ingest:
    """Stage: plan shard -> images shard and truth shards, from one look at each row.

    truths: column -> recipe digest, as `claim_truths` gives them.
    """

    dataset: Dataset
    source: Source
    truths: Mapping[str, str]

    def __post_init__(self) -> None:
        self.geometry = load_geometry(self.dataset.description.geometry)

    @property
    def resources(self) -> Resources:
        needs, more = self.source.resources, int((self.geometry.allowance - 1) * budget.MEMORY)
        return replace(needs, memory=needs.memory + more) if needs.memory else needs

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        self.source.setup()
        self.failure_limit = FailureLimit()
        self._plans = PlanReader(self.dataset.store, self.dataset.segments)
        self._decode_picture: Decode = decode_in_time

    def run_carefully(self, shard: int) -> StageResult:
        """The same, every picture decoded in a child process; one that the child dies over is a drop."""
        try:
            with decode_in_child() as self._decode_picture:
                return self(shard)
        finally:
            self._decode_picture = decode_in_time

    def __call__(self, shard: int) -> StageResult:
        finished = {column: load_receipt(self.dataset.store, column, shard) for column in (IMAGES, *self.truths)}
        receipts = {column: receipt for column, receipt in finished.items() if receipt}
        missing = [column for column in self.truths if column not in receipts]
        errors: tuple[str, ...] = ()
        if IMAGES not in receipts:
            receipts[IMAGES], truth, errors = self._make_images(shard, missing)
        elif missing:
            truth = self._make_truth(receipts[IMAGES], missing)
        for column in missing:
            receipts[column] = self._commit_truth(column, receipts[IMAGES], truth[column])
        return StageResult(receipts, errors)

    def _make_images(
        self, shard: int, truths: Sequence[str]
    ) -> tuple[Receipt, Mapping[str, list[Sample]], tuple[str, ...]]:
        """The pictures and the truth of a shard, from the source."""
        started = time.perf_counter()
        store, rows = self.dataset.store, self._plans.read(shard)
        with store.scratch() as scratch, self._gather(rows, scratch) as opener:
            seen = None if self.source.repeatable else read_seen(store, shard)
            kept = self._read(rows, opener, truths, seen or {})
            if not self.source.repeatable and seen is None:
                got = {row["key"]: row["sha256"] for row in kept.rows if row.get("sha256")}
                if not write_seen(store, shard, got):
                    # Another attempt was first, so its pictures are the ones to be held to.
                    kept = self._read(rows, opener, truths, read_seen(store, shard) or {})
        refuse_total_failure(len(kept.samples), kept.errors)
        table = encode_rows(kept.rows)
        receipt = commit_samples(
            store,
            kept.samples,
            column=IMAGES,
            shard=shard,
            planned=len(kept.rows),
            recipe=self.dataset.description.recipe,
            drops=count_drops(kept.rows),
            rows=digest_rows(table),
            seconds=time.perf_counter() - started,
            extra={rows_path(shard): table},
            by=commit if self.source.repeatable else commit_attempt,
        )
        truth: Mapping[str, list[Sample]] = kept.truth
        if truths and receipt.keys != digest_keys(sample.key for sample in kept.samples):
            # An earlier attempt's shard counts, whose pictures are not all among ours.
            truth = self._make_truth(receipt, truths)
        return receipt, truth, tuple(kept.errors)

    def try_rows(self, rows: Sequence[Row]) -> tuple[list[Sample], Mapping[str, int]]:
        """The samples of these rows in all columns, and the drops by reason; nothing is kept of them."""
        with self.dataset.store.scratch() as scratch, self._gather(rows, scratch) as opener:
            kept = self._read(rows, opener, list(self.truths), {})
        return [*kept.samples, *chain.from_iterable(kept.truth.values())], count_drops(kept.rows)

    def _gather(self, rows: Sequence[Row], scratch: Path) -> AbstractContextManager[Opener]:
        """The source's opener of these rows, but for those that were erased, of which it knows nothing."""
        there = [row for row in rows if not is_erased(row.location)]
        return self.source.gather(there, self.geometry.size, scratch)

    def _read(self, rows: Sequence[Row], opener: Opener, truths: Sequence[str], seen: Mapping[str, str]) -> _Kept:
        kept, made = _Kept(truth={column: [] for column in truths}), list[_Made]()
        for row in rows:
            outcome: dict[str, Any] = {"key": row.key, "status": OK}
            try:
                if is_erased(row.location):
                    raise Drop("erased")
                original = opener(row)
                decoded = self._decode(row, original, seen, outcome)
                placement = self.geometry.place(*decoded.size)
                picture = apply_placement(decoded.picture, placement)
                jpeg = encode_jpeg(picture, self.geometry.quality, self.geometry.stored_chroma)
                maps = {c: format_of(c).encode(original.truth[c](placement)) for c in truths}
                profile = {"profile": decoded.profile} if decoded.profile else {}
                source = {"location": row.location, **original.info, **profile}
                size = picture.shape[1], picture.shape[0]
                info = SampleInfo(row.key, original.captions, *size, placement, outcome["sha256"], source)
                made.append(_Made(outcome, info, jpeg, maps, shrink_grey(picture)))
                self.failure_limit.succeed()
                if self.source.repeatable:  # others count what they download
                    count_samples()
            except Drop as drop:
                outcome["status"] = drop.reason
                outcome.setdefault("http", drop.http)
            except (IncompleteError, RequestError):
                raise  # the state of a store, not of this picture: the shard is tried again
            except Exception as error:
                self._fail(kept, outcome, error)
            kept.rows.append(outcome)
            if len(made) == TOGETHER:
                self._finish(kept, made)
                made.clear()
        self._finish(kept, made)
        return kept

    def _fail(self, kept: _Kept, outcome: dict[str, Any], error: Exception) -> None:
        outcome["status"] = f"failed ({type(error).__name__})"
        kept.errors.append(f"{outcome['key']}: {describe_error(error)}")
        self.failure_limit.fail(kept.errors[-1])

    def _finish(self, kept: _Kept, made: Sequence[_Made]) -> None:
        """What needs no pixels, for many samples at once: between two pictures, with cold caches, it is slower."""
        for one, hashes in zip(made, hash_greys([one.small for one in made]), strict=True):
            try:
                text, info = one.info.captions[0].encode(), one.info.encode()
            except Exception as error:
                self._fail(kept, one.outcome, error)
                continue
            self.failure_limit.succeed()
            one.outcome.update(hashes)
            kept.samples.append(Sample(one.info.key, {"jpg": one.jpeg, "txt": text, "json": info}))
            for column, members in one.maps.items():
                kept.truth[column].append(Sample(one.info.key, members))

    def _decode(self, row: Row, original: Original, seen: Mapping[str, str], outcome: dict[str, Any]) -> Decoded:
        """The picture, and what is known of its file in `outcome`."""
        outcome |= {"http": original.http, "sha256": None}
        if isinstance(original.content, bytes):
            outcome |= {"sha256": hashlib.sha256(original.content).hexdigest(), "bytes": len(original.content)}
            if row.digest not in (None, outcome["sha256"]):
                raise Drop("not the picture of the metadata's digest")
            if seen.get(row.key) not in (None, outcome["sha256"]):
                raise Drop("changed since it was first seen")
            decoded = self._decode_picture(original.content, self.geometry, original.formats)
            original.check_annotated(decoded.size, decoded.turned)
        else:
            height, width = original.content.shape[:2]
            decoded = Decoded(original.content, (width, height))
        outcome |= {"width": decoded.size[0], "height": decoded.size[1]}
        return decoded

    def _make_truth(self, images: Receipt, truths: Sequence[str]) -> Mapping[str, list[Sample]]:
        """The truth of a shard whose pictures are committed, placed as they are."""
        store = self.dataset.store
        pictures = self.dataset.load(IMAGES, images.shard, images)
        rows = {row.key: row for row in self.dataset.plan(images.shard)}
        made: dict[str, list[Sample]] = {column: [] for column in truths}
        there = [sample for sample in pictures if not is_erased(rows[sample.key].location)]
        kept = [rows[sample.key] for sample in there]
        size = self.geometry.size
        with store.scratch() as scratch, self.source.gather(kept, size, scratch, pictures=False) as opener:
            for sample, row in zip(there, kept, strict=True):
                placement = read_info(sample).placement
                try:
                    original = opener(row)
                    original.check_annotated(placement.original)
                    for column in truths:
                        members = format_of(column).encode(original.truth[column](placement))
                        made[column].append(Sample(sample.key, members))
                    count_samples()
                except Exception as error:
                    raise IncompleteError(
                        f"images/{shard_name(images.shard)} holds {sample.key}, for which its source now gives no "
                        f"truth ({describe_error(error)})"
                    ) from error
        if len(there) < len(pictures):
            return {column: _add_blank(column, samples, pictures) for column, samples in made.items()}
        return made

    def _commit_truth(self, column: str, images: Receipt, samples: list[Sample]) -> Receipt:
        return commit_samples(
            self.dataset.store,
            samples,
            column=column,
            shard=images.shard,
            planned=images.samples,
            recipe=self.truths[column],
            input_digest=images.identity,
        )


def _add_blank(column: str, samples: Sequence[Sample], pictures: Sequence[Sample]) -> list[Sample]:
    """A sample for each picture, in order: of those that were erased a map that shows nothing."""
    form, made = format_of(column), {sample.key: sample for sample in samples}
    return [made.get(picture.key) or _make_blank(form, picture) for picture in pictures]


def _make_blank(form: Format, picture: Sample) -> Sample:
    try:
        info = read_info(picture)
        size = info.height, info.width
    except DamagedShard:  # erased too, where it could not be read
        size = SIZE_MULTIPLE, SIZE_MULTIPLE
    return Sample(picture.key, form.encode(form.empty(*size)))
