"""--dry-run: what a command would do, how large that would be, and what it would refuse; nothing is written."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.left import find_left
from t2i_shards.pipeline.extract import load_extractor
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.plain import format_duration, list_counts, number_of
from t2i_shards.pipeline.publish import Published
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import DRY
from t2i_shards.pipeline.stages.extract import Extract
from t2i_shards.pipeline.stages.ingest import Ingest

TRIED = {"ingest": 16, "extract": 4}
"""Samples that are made and thrown away, to measure their size and time."""
BLOCK = 512
"""Bytes of a header of a tar, and what the sizes of members are rounded up to."""


@contextmanager
def dry_run() -> Iterator[None]:
    """The stores that are opened inside the block keep what is created out of their place, and then forget it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[DRY] = folder
        try:
            yield
        finally:
            del os.environ[DRY]


@dataclass(frozen=True)
class Estimate:
    """Of all that is left. bytes: on the disk. seconds: of one worker. tried: samples that it was measured on."""

    bytes: int
    seconds: float
    tried: int

    def describe(self, root: str, workers: int | None) -> str:
        hands = workers or len(os.sched_getaffinity(0))
        parts = [
            f"about {format_bytes(self.bytes)}",
            f"{format_duration(self.seconds / hands)} on {number_of(hands, 'worker')}",
        ]
        return f"{', '.join(parts)} (measured on {self.tried}){_describe_free_space(root, self.bytes)}"


def try_ingest(
    stage: Ingest, left: Sequence[int], root: str, workers: int | None, plan_counts: Mapping[str, Any]
) -> Summary:
    """What is left to ingest. plan_counts: what the plan leaves out, and notes of it."""
    dataset = stage.dataset
    rows = dataset.planned * len(left) // max(1, len(dataset.shards))
    shards = f"{len(left)} of {number_of(len(dataset.shards), 'shard')}"
    line = f"ingest: {shards} would be made, of {number_of(rows, 'row')}"
    record: dict[str, Any] = {"shards": len(dataset.shards), "left": len(left), "rows": rows, **plan_counts}
    for name, counts in plan_counts.items():
        line += f"; {name.replace('_', ' ')}: {list_counts(counts)}" if counts else ""
    if left and not stage.source.repeatable:
        line += "; their sizes are not known before they are downloaded"
    elif left:
        samples, drops, seconds, tried = _try_rows(stage, left[0])
        estimate = Estimate(_size(samples) * rows // tried, seconds * rows / tried, tried)
        line += f"; {estimate.describe(root, workers)}"
        line += f", of which dropped: {list_counts(drops)}" if drops else ""
        record |= {"bytes": estimate.bytes, "seconds": estimate.seconds, "dropped_of_tried": drops}
    return _end(line, {"command": "ingest", **record})


def _try_rows(stage: Ingest, shard: int) -> tuple[list[Sample], Mapping[str, int], float, int]:
    """Samples of the first rows of a shard, what of these was dropped, the seconds it took, the number of rows."""
    rows = stage.dataset.plan(shard)[: TRIED["ingest"]]
    stage.setup()
    started = time.perf_counter()
    samples, drops = stage.try_rows(rows)
    return samples, drops, time.perf_counter() - started, len(rows)


def try_extract(stage: Extract, root: str, workers: int | None) -> Summary:
    """What is left to extract, by column."""
    dataset = stage.dataset
    receipts = dataset.receipts(IMAGES)
    parts, columns, total = [], {}, Estimate(0, 0.0, 0)
    for made in stage.conditions:
        left = [shard for shard in find_left(dataset, [made.column]).shards if shard in receipts]
        count = sum(receipts[shard].samples for shard in left)
        shards = f"{len(left)} of {number_of(len(dataset.shards), 'shard')}"
        part = f"{made.column}: {shards} would be made, {number_of(count, 'sample')}"
        if count:
            samples = dataset.load(IMAGES, next(s for s in left if receipts[s].samples))[: TRIED["extract"]]
            found, seconds = _try_condition(stage, made.condition, made.variant, samples)
            size = _size(found) * count // len(samples)
            total = Estimate(total.bytes + size, total.seconds + seconds * count / len(samples), len(samples))
            part += f", about {format_bytes(size)}"
            columns[made.column] = {"shards": len(left), "samples": count, "bytes": size}
        parts.append(part)
    if total.tried:
        parts.append(total.describe(root, workers))
    return _end(
        f"extract: {'; '.join(parts)}", {"command": "extract", "columns": columns, "seconds": total.seconds}
    )


def _try_condition(
    stage: Extract, condition: str, variant: str, samples: Sequence[Sample]
) -> tuple[list[Sample], float]:
    """The condition of these pictures, and the seconds that took, without those of loading the network."""
    extractor = load_extractor(condition, variant, stage.weights, stage.device)
    started, found = time.perf_counter(), []
    for sample in samples:
        [condition_map] = extractor(np.stack([decode_rgb(sample.members["jpg"])]))
        found.append(Sample(sample.key, extractor.format.encode(condition_map)))
    return found, time.perf_counter() - started


def estimate_training(config: TrainConfig, workers: int) -> Summary:
    """What a training would do."""
    from t2i_shards.adapters.training.dry_run import try_training

    tried = try_training(config, workers)
    plan = tried.plan
    line = (
        f"train: {plan.describe(datetime.now())}; {format_bytes(tried.checkpoint)} a checkpoint, "
        f"{format_bytes(tried.run)} in {config.out}{_describe_free_space(str(config.out), tried.run)}"
    )
    record = {"steps": plan.steps, "begun": plan.begun, "samples": plan.samples, "held_out": plan.held_out}
    return _end(line, {"command": "train", **record, "bytes": tried.run, "seconds": plan.seconds})


def estimate_publication(published: Published) -> Summary:
    """What a publication would hold."""
    plan, counts = published.plan, published.counts
    columns = [column for column in plan.columns if column != IMAGES or plan.pictures]
    receipts = [receipt for column in columns for receipt in plan.receipts[column].values()]
    images = sum(receipt.samples for receipt in plan.receipts[IMAGES].values())
    kept = 1.0 if plan.asked.layout == "columns" else sum(counts.values()) / max(1, images)
    size = int(sum(receipt.bytes for receipt in receipts) * kept)
    parts = [
        number_of(published.shards, "shard"),
        *(f"{name} {number_of(count, 'sample')}" for name, count in counts.items()),
    ]
    if published.left_out:
        parts.append(f"left out: {list_counts(published.left_out)}")
    parts.append(f"about {format_bytes(size)}{_describe_free_space(plan.to.root, size)}")
    parts.append("is not whole yet" if published.problems else "is whole already")
    record = {"shards": published.shards, "samples": dict(counts), "left_out": dict(published.left_out)}
    return _end(f"publish: {'; '.join(parts)}", {"command": "publish", **record, "bytes": size})


def _size(samples: Sequence[Sample]) -> int:
    """Bytes of the samples in a tar."""
    return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for sample in samples for data in sample.members.values())


def _describe_free_space(root: str, size: int) -> str:
    """How much room there is on the disk of a folder, which need not exist; "" for other places."""
    if "://" in root:
        return ""
    place = next(path for path in (Path(root).absolute(), *Path(root).absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    return f", {format_bytes(free)} are free" + (": too few" if free < size else "")


def _end(line: str, record: Mapping[str, Any]) -> Summary:
    return Summary(f"{line}; nothing was written", {**record, "dry_run": True, "made": 0})


def format_bytes(count: float) -> str:
    """640 kB, 12.3 MB, 4.5 GB"""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
