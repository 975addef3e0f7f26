"""Ingest: the rows of a plan become the images column, and columns of the source's own ground truth."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extractors.base import Resources
from extractors.registry import format_of
from pipeline.commit import load_receipt, publish
from pipeline.dataset import IMAGES, Dataset, create_dataset
from pipeline.errors import DamagedShard, Drop, IncompleteError, RequestError
from pipeline.image import Geometry, Placement, apply_placement, encode_jpeg, use_threads
from pipeline.receipt import Receipt, shard_name, to_json
from pipeline.sample import Sample, digest_keys
from pipeline.sources.base import Original, Row, Source
from pipeline.stage import Fuse, Made, describe_error, refuse_total_failure
from pipeline.store import Store, open_store

OK = "ok"
ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
"""rows.parquet: status is "ok" or the reason of the drop; the rest is of the original, null where unknown."""


def plan_dataset(root: str, source: Source, geometry: Geometry, shard_size: int) -> Dataset:
    """Make the plan of a new dataset, or open the one that stands there. RequestError when it is another's."""
    if shard_size < 1:
        raise RequestError(f"--shard-size must be at least 1, not {shard_size}")
    return create_dataset(open_store(root), source.rows(), shard_size, source.describe(), asdict(geometry))


def check_truths(source: Source, truths: Sequence[str]) -> None:
    """Raises RequestError when the source does not know one of these conditions exactly."""
    known = source.truths()
    for name in truths:
        if name not in known:
            had = ", ".join(sorted(known)) or "none"
            raise RequestError(f"--truth must name conditions this source knows exactly ({had}), not {name!r}")


def claim_truths(dataset: Dataset, source: Source, truths: Sequence[str]) -> dict[str, str]:
    """Begin a column for each condition of `truths`: name -> recipe digest. RequestError for one unknown."""
    check_truths(source, truths)
    return {name: dataset.claim(name, source.truths()[name]) for name in truths}


@dataclass
class _Kept:
    """The rows of one shard that became samples, and those that did not."""

    samples: list[Sample] = field(default_factory=list)
    truth: dict[str, list[Sample]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


@dataclass
class Ingest:
    """Stage: plan shard -> images shard and truth shards, from one look at each row.

    truths: column -> recipe digest, as `claim_truths` gives them.
    """

    dataset: Dataset
    source: Source
    geometry: Geometry
    truths: Mapping[str, str]
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        self.fuse = Fuse()

    def __call__(self, shard: int) -> Made:
        started = time.perf_counter()
        finished = {column: load_receipt(self.dataset.store, column, shard) for column in (IMAGES, *self.truths)}
        if all(finished.values()):
            return Made({column: receipt for column, receipt in finished.items() if receipt})
        images = finished[IMAGES]
        rows = self.dataset.plan(shard)
        if images is not None:
            keys = {sample.key for sample in self.dataset.load(IMAGES, shard, images)}
            rows = [row for row in rows if row["key"] in keys]
        kept = self._read(rows, tuple(column for column in self.truths if finished[column] is None))
        refuse_total_failure(len(kept.samples), kept.errors)
        receipts = {}
        if images is None:
            images = self._commit_images(shard, kept, time.perf_counter() - started)
        if images.keys != digest_keys(sample.key for sample in kept.samples):
            raise IncompleteError(f"images/{shard_name(shard)} holds other samples than its source gives now")
        receipts[IMAGES] = images
        for column, samples in kept.truth.items():
            receipts[column] = self._commit_truth(column, images, samples)
        return Made(receipts, tuple(kept.errors))

    def _read(self, rows: Sequence[Row], truths: tuple[str, ...]) -> _Kept:
        kept = _Kept(truth={column: [] for column in truths})
        for row in rows:
            original = None
            try:
                original = self.source.open(row, self.geometry)
                height, width = original.picture.shape[:2]
                placement = self.geometry.place(width, height)
                sample = self._sample(row, original, placement)
                maps = {c: format_of(c).encode(original.truth[c](placement)) for c in truths}
                status = OK
                self.fuse.succeed()
            except Drop as drop:
                status = drop.reason
            except Exception as error:
                status = f"failed ({type(error).__name__})"
                kept.errors.append(f"{row['key']}: {describe_error(error)}")
                self.fuse.fail(kept.errors[-1])
            kept.rows.append(_outcome(row, original, status))
            if status == OK:
                kept.samples.append(sample)
                for column, members in maps.items():
                    kept.truth[column].append(Sample(row["key"], members))
            else:
                kept.drops[status] += 1
        return kept

    def _sample(self, row: Row, original: Original, placement: Placement) -> Sample:
        picture = apply_placement(original.picture, placement)
        height, width = picture.shape[:2]
        known = {
            "key": row["key"],
            "captions": list(original.captions),
            "width": width,
            "height": height,
            "placement": asdict(placement),
            "sha256": original.sha256,
            "source": {"location": row["location"], **original.info},
        }
        members = {
            "jpg": encode_jpeg(picture, self.geometry.quality),
            "txt": original.captions[0].encode(),
            "json": to_json(known),
        }
        return Sample(row["key"], members)

    def _commit_images(self, shard: int, kept: _Kept, seconds: float) -> Receipt:
        table = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(kept.rows, ROWS), table)
        return publish(
            self.dataset.store,
            kept.samples,
            column=IMAGES,
            shard=shard,
            planned=len(kept.rows),
            recipe=self.dataset.description.recipe,
            drops=dict(kept.drops),
            seconds=seconds,
            extra={rows_path(shard): table.getvalue()},
        )

    def _commit_truth(self, column: str, images: Receipt, samples: list[Sample]) -> Receipt:
        return publish(
            self.dataset.store,
            samples,
            column=column,
            shard=images.shard,
            planned=images.samples,
            recipe=self.truths[column],
            input=images.sha256,
        )


def _outcome(row: Row, original: Original | None, status: str) -> dict[str, Any]:
    outcome: dict[str, Any] = {"key": row["key"], "status": status}
    if original is not None:
        height, width = original.picture.shape[:2]
        outcome |= {"sha256": original.sha256, "bytes": original.bytes, "width": width, "height": height}
    return outcome


def check_rows(store: Store, images: Receipt, samples: Sequence[Sample]) -> None:
    """Raises DamagedShard when rows.parquet does not tell the same of the planned rows as receipt and shard."""
    path = rows_path(images.shard)
    try:
        rows = pq.read_table(pa.BufferReader(pa.py_buffer(store.load(path))), schema=ROWS).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DamagedShard(f"{path}: {describe_error(error)}") from None
    kept = [row["key"] for row in rows if row["status"] == OK]
    drops = Counter(row["status"] for row in rows if row["status"] != OK)
    if kept != [sample.key for sample in samples] or drops != images.drops:
        raise DamagedShard(f"{path}: tells otherwise of the rows than the shard and its receipt")


def rows_path(shard: int) -> str:
    """images/000012.rows.parquet"""
    return f"{IMAGES}/{shard_name(shard)}.rows.parquet"
