"""`python -m tests.bench.publish_memory FOLDER`: publishes 100,000 small samples; prints the peak of its memory.

A process of its own, so that nothing else counts. In MB, the making of the dataset, the readers' libraries and
what is mapped of the shards included; the local engine's one worker holds no more than two shards.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import encode_rows, rows_path
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.image.geometry import Geometry, Placement
from t2i_shards.pipeline.image.stored import encode_jpeg
from t2i_shards.pipeline.publish import Publication, publish
from t2i_shards.pipeline.publish.readers import read_webdataset
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import Pictures

SAMPLES, SHARD = 100_000, 1000


def make(root: Path) -> Dataset:
    """Samples that share one picture."""
    source = Pictures(SAMPLES)
    dataset = plan_dataset(str(root), source, Geometry(64), SHARD)
    jpg = encode_jpeg(source.open(Row("k", "", ("x",), extra={"i": 0})).content, 90)  # type: ignore[arg-type]
    for shard in dataset.shards:
        samples, rows = [], []
        for row in dataset.plan(shard):
            number = row.extra["i"]
            known = SampleInfo(row.key, ("small",), 64, 64, Placement((64, 64), (64, 64), (0, 0, 64, 64)))
            samples.append(Sample(row.key, {"jpg": jpg, "txt": b"small", "json": known.encode()}))
            rows.append({"key": row.key, "status": "ok", "phash": f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"})
        commit_samples(
            dataset.store,
            samples,
            column=IMAGES,
            shard=shard,
            planned=len(samples),
            recipe=dataset.description.recipe,
            extra={rows_path(shard): encode_rows(rows)},
        )
    return dataset


def main(folder: Path) -> None:
    dataset = make(folder / "root")
    published = publish(
        dataset,
        open_store(str(folder / "to")),
        Publication(splits=("train=0.9", "test=0.1")),
        {"webdataset": read_webdataset},
        lambda verb, stage, shards, of: run(stage, shards, "local", 1),
    )
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({"samples": sum(published.counts.values()), "megabytes": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
