"""The engine on Ray against a bare loop over the same stage, and against Ray Data doing the same work."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from t2i_shards.extractors.color import Color
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.stages import Extract, plan_extract
from t2i_shards.pipeline.stages.stage import StageResult
from tests.bench.measure import Row, cpu_seconds
from tests.bench.toy import make_dataset

SHARDS, SHARD_SIZE, SIZE = 12, 100, 512
ROUNDS = 3


def bench(folder: Path) -> list[Row]:
    """Rates leave start-up out: they are of the shards after a run's first."""
    dataset = make_dataset(folder / "dataset", SHARDS, SHARD_SIZE, SIZE)
    bare, engine, ours_cpu, peer_cpu = [], [], [], []
    for turn in range(ROUNDS):
        bare.append(_bare_loop(_stage(dataset, f"bare{turn}")))
        rate, per_cpu = _engine(_stage(dataset, f"ray{turn}"))
        engine.append(rate)
        ours_cpu.append(per_cpu)
        peer_cpu.append(_ray_data(folder / "dataset" / "images", folder / f"raydata{turn}"))
    return [
        _row("engine on Ray against a bare loop", "samples/s", engine, bare, ">= 0.95"),
        _row("engine against Ray Data, shard to shard", "samples/cpu-s", ours_cpu, peer_cpu, ">= 1.8"),
    ]


def _row(what: str, unit: str, ours: list[float], peer: list[float], goal: str) -> Row:
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    return Row(what, unit, statistics.median(ours), statistics.median(peer), ratio, goal)


def _stage(dataset: Dataset, column: str) -> Extract:
    return plan_extract(dataset, ["color"], column=column)


def _bare_loop(stage: Extract) -> float:
    stage.setup()
    for shard in range(SHARDS):
        stage(shard)
    return _rate(stage)


def _engine(stage: Extract) -> tuple[float, float]:
    """(samples per second, samples per CPU second) after the first shard came back."""
    marks: list[tuple[int, float]] = []

    def mark(shard: int, made: StageResult | None) -> None:
        # Summing the processes takes longer than a small shard; only the first and last report need it.
        last = len(marks) in (0, SHARDS - 1)
        marks.append((len(list(_receipts(stage))), cpu_seconds() if last else 0.0))

    run(stage, range(SHARDS), "ray", 1, mark)
    (first, cpu_first), (end, cpu_end) = marks[0], marks[-1]
    return _rate(stage), (end - first) * SHARD_SIZE / (cpu_end - cpu_first)


def _rate(stage: Extract) -> float:
    """Samples per second between the first receipt and the last, by when the files were written.

    The driver hears of several shards at a time, up to a second late, which is too coarse for a run of seconds.
    """
    written = [path.stat().st_mtime_ns for path in _receipts(stage)]
    return (len(written) - 1) * SHARD_SIZE * 1e9 / (max(written) - min(written))


def _receipts(stage: Extract) -> Iterator[Path]:
    return Path(stage.dataset.store.root, stage.conditions[0].column).glob("[0-9]*.json")


def _ray_data(images: Path, out: Path) -> float:
    """Samples per CPU second of read_webdataset -> map_batches -> write_webdataset, on warm workers."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    tars = sorted(str(path) for path in images.glob("*.tar"))
    _ray_data_run(tars[:1], out / "warm")
    before = cpu_seconds()
    _ray_data_run(tars[1:], out / "out")
    used = cpu_seconds() - before
    shutil.rmtree(out)
    return (SHARDS - 1) * SHARD_SIZE / used


def _ray_data_run(tars: list[str], out: Path) -> None:
    import ray

    dataset = ray.data.read_webdataset(tars, suffixes=["jpg"], decoder=None)
    dataset.map_batches(_color_batch, batch_size=8, batch_format="numpy").write_webdataset(str(out), encoder=None)


def _color_batch(batch: dict[str, Any]) -> dict[str, Any]:
    extractor = Color("default", None)
    extractor.load("cpu")
    pictures = np.stack([cv2.imdecode(np.frombuffer(b, np.uint8), cv2.IMREAD_COLOR_RGB) for b in batch["jpg"]])
    maps = [extractor.format.encode(m)["color.png"] for m in extractor(pictures)]
    return {"__key__": batch["__key__"], "color.png": np.array(maps, dtype=object)}
