"""Publishing in this process, without an engine, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.publish import Publication, Published, publish
from t2i_shards.pipeline.publish.readers import Reader
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.stage import Stage
from tests.faults.toys import Pictures, make_images


def here(verb: str, stage: Stage, shards: Sequence[int], of: int) -> RunResult:
    """Each shard in turn, in this process."""
    if shards:
        stage.setup()
    return RunResult(made={shard: stage(shard) for shard in shards})


def publish_here(
    dataset: Dataset,
    to: str | Path,
    purge: bool = False,
    readers: Mapping[str, Reader] | None = None,
    work: Any = here,
    **asked: Any,
) -> Published:
    """Publish with these options, by default read back by our own stream alone."""
    options = {"shard_size": 10, **asked}
    return publish(dataset, open_store(os.fspath(to)), Publication(**options), readers or {}, work, purge)


def toy_dataset(root: Path, count: int = 30, shard_size: int = 12, color: bool = True) -> Dataset:
    """Small pictures with a sketch, and their colours."""
    dataset = make_images(root, Pictures(count), shard_size, ("sketch",))
    if color:
        stage = plan_extract(dataset, ["color"])
        stage.setup()
        for shard in dataset.shards:
            stage(shard)
    return dataset


def contents(folder: str | Path) -> dict[str, bytes]:
    """Path -> bytes of all files that are not scratch."""
    base = Path(folder)
    found = (path for path in base.rglob("*") if path.is_file() and ".scratch" not in path.parts)
    return {path.relative_to(base).as_posix(): path.read_bytes() for path in found}


def published_samples(folder: str | Path) -> dict[str, list[Sample]]:
    """split -> its samples in the order of the shards."""
    splits: dict[str, list[Sample]] = {}
    for path in sorted(Path(folder, "data").glob("*.tar")):
        samples = splits.setdefault(path.name.rpartition("-")[0], [])
        samples += [
            Sample(s.key, {n: bytes(d) for n, d in s.members.items()})
            for s in read_samples(memoryview(path.read_bytes()))
        ]
    return splits


def keys_of(folder: str | Path, split: str = "train") -> list[str]:
    return [sample.key for sample in published_samples(folder).get(split, ())]


def rewrite_images(dataset: Dataset, change: Any, shard: int = 0) -> Dataset:
    """Replace an images shard and its receipt by another that `change` (samples -> samples) makes of it.

    As one that a stranger's tool has made: consistent in itself, and with no column made from it.
    """
    root = Path(dataset.store.root)
    samples = [Sample(s.key, {n: bytes(d) for n, d in s.members.items()}) for s in dataset.load(IMAGES, shard)]
    old = dataset.receipts(IMAGES)[shard]
    for suffix in ("tar", "json"):
        (root / IMAGES / f"{shard:06d}.{suffix}").unlink()
    changed = change(samples)
    receipt = commit_samples(
        dataset.store, changed, column=IMAGES, shard=shard, planned=len(changed), recipe=old.recipe
    )
    assert receipt.samples == len(changed)
    return Dataset.open(str(root))


def with_known(sample: Sample, **changes: Any) -> Sample:
    """The sample with other entries in its json."""
    known = {**json.loads(bytes(sample.members["json"])), **changes}
    return dataclasses.replace(sample, members={**sample.members, "json": json.dumps(known).encode()})
