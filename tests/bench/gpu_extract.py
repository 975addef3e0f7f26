"""Extraction on a GPU: pictures/s for each condition and for all five, as a Markdown table. No Ray, no network.

    python -m tests.bench.gpu_extract [--pictures 64] [--size 512] [--batches 1 2 4 8 16 32]

A run is the stage itself, shard in and shards out: decoding and encoding are in it. "busy" is the share of the
time in which the GPU did anything, as nvidia-smi has it. The peer is tests.bench.peers, a picture at a time.
The floor is what the machine would need at least: the networks' operations at the rate of a large product in
float32, or the weights once a batch, the picture and its maps at the rate of a large copy, whichever takes longer;
both rates are measured here. On a machine without GPU it says so and ends with 2; `--device cpu --pictures 4
--size 128` tries the script out there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors.batch import Batch, DeviceUnavailable, find_device
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.stages import Extract, plan_extract
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.bench.busy import Busy
from tests.bench.peers import PEERS, load_peer
from tests.bench.photographs import draw_photograph
from tests.bench.toy import Drawn
from tests.bench.weights import provide

FIVE = tuple(PEERS)
BATCHES = (1, 2, 4, 8, 16, 32)
FIXED = {
    "sketch": "GPU_BATCH",
    "depth:Depth": "gpu_batch",
    "segmentation:Segmentation": "gpu_batch",
    "keypose": "GPU_PICTURES",
}
"""Module or class in extractors -> its name for how many pictures its network takes on a GPU."""


@dataclass(frozen=True)
class Machine:
    """flops, bytes: what it does of either in a second."""

    device: str
    name: str
    flops: float
    bytes: float


@dataclass(frozen=True)
class Cost:
    """What the networks of some conditions need: operations a picture, bytes of weights, of a picture and maps."""

    flops: float
    weights: float
    moved: float

    def floor(self, machine: Machine, batch: int) -> float:
        """Seconds a picture, at least."""
        return max(self.flops / machine.flops, (self.weights / batch + self.moved) / machine.bytes)


@dataclass(frozen=True)
class Run:
    """rate: pictures per second. busy: 0..1, None where it is not known."""

    batch: int
    rate: float
    busy: float | None


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu_extract")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    asked = parser.parse_args(arguments)
    try:
        find_device(asked.device)
    except DeviceUnavailable as error:
        print(error)
        return 2
    machine = measure_machine(asked.device)
    print(
        f"{machine.name}: {machine.flops / 1e12:.2f} TFLOP/s in float32, {machine.bytes / 1e9:.0f} GB/s;", end=" "
    )
    print(f"{asked.pictures} pictures of {asked.size}x{asked.size}\n")
    print(
        "| condition | batch | pictures/s | busy | one by one, pictures/s | ratio | GFLOP | ms | over the floor |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="t2i-shards-bench-") as folder:
        weights = provide(FIVE, Path(folder) / "weights")
        dataset = make_images(Path(folder) / "root", asked.pictures, asked.size)
        peers = {name: peer_rate(dataset, name, weights, asked.device, asked.size) for name in FIVE}
        batches = [batch for batch in asked.batches if batch <= asked.pictures]
        for names in [*((name,) for name in FIVE), FIVE]:
            runs, cost = sweep(dataset, names, weights, asked.device, batches)
            theirs = 1 / sum(1 / peers[name] for name in names)
            for run in runs:
                print(line(names, run, theirs, cost, machine), flush=True)
    return 0


def line(names: Sequence[str], run: Run, theirs: float, cost: Cost, machine: Machine) -> str:
    busy = "" if run.busy is None else f"{100 * run.busy:.0f} %"
    floor = cost.floor(machine, run.batch)
    cells = [names[0] if len(names) == 1 else "all five", run.batch, f"{run.rate:.2f}", busy, f"{theirs:.2f}"]
    cells += [f"{run.rate / theirs:.1f}", f"{cost.flops / 1e9:.1f}", f"{1000 / run.rate:.1f}"]
    return f"| {' | '.join(map(str, cells))} | {1 / run.rate / floor:.1f} |"


def make_images(root: Path, pictures: int, size: int) -> Dataset:
    """Shard 0 to warm up on, shard 1 to measure on."""
    source, geometry = Drawn(2 * pictures, size, draw_photograph), Geometry(size)
    dataset = plan_dataset(str(root), source, geometry, pictures)
    stage = Ingest(dataset, source, {})
    stage.setup()
    for shard in dataset.shards:
        stage(shard)
    return dataset


def sweep(
    dataset: Dataset, names: Sequence[str], weights: Path, device: str, batches: Sequence[int]
) -> tuple[list[Run], Cost]:
    """A run for each size of a batch, and what the networks cost."""
    runs, cost = [], Cost(0, 0, 0)
    for batch in batches:
        stage = load_stage(dataset, names, weights, device, batch)
        cost = measure_cost(stage, dataset)
        stage(0)
        with Busy(device) as busy:
            started = time.perf_counter()
            receipts = stage(1).receipts
            rate = receipts[names[0]].samples / (time.perf_counter() - started)
        runs.append(Run(batch, rate, busy.share))
        for name in names:
            shutil.rmtree(Path(dataset.store.root) / name)
    return runs, cost


def load_stage(dataset: Dataset, names: Sequence[str], weights: Path, device: str, batch: int) -> Extract:
    """The stage, its networks taking `batch` pictures at once."""
    from pkgutil import resolve_name

    for owner, name in FIXED.items():
        setattr(resolve_name(f"t2i_shards.extractors.{owner}"), name, batch)
    stage = plan_extract(dataset, names, weights=weights, device=device, batch=batch)
    stage.setup()
    return stage


def measure_cost(stage: Extract, dataset: Dataset) -> Cost:
    from torch.utils.flop_counter import FlopCounterMode

    jpeg = dataset.load(IMAGES, 0)[0].members["jpg"]
    picture = decode(bytes(jpeg))
    with FlopCounterMode(display=False) as counter:
        for extractor in stage.extractors.values():
            extractor(Batch(picture[None], limit=1))
    weights = sum(p.nbytes for e in stage.extractors.values() for p in parameters(e))
    return Cost(counter.get_total_flops(), weights, picture.nbytes + len(stage.extractors) * picture[..., 0].size)


def decode(jpeg: bytes) -> np.ndarray:
    from t2i_shards.pipeline.image.stored import decode_rgb

    return np.asarray(decode_rgb(jpeg))


def parameters(extractor: Any) -> list[Any]:
    """Of all networks that an extractor holds, also inside what it calls."""
    from torch import nn

    held = [*vars(extractor).values(), getattr(getattr(extractor, "find", None), "model", None)]
    found = {id(p): p for value in held if isinstance(value, nn.Module) for p in value.parameters()}
    return list(found.values())


def peer_rate(dataset: Dataset, name: str, weights: Path, device: str, size: int) -> float:
    """Pictures per second of the peer, each decoded, shown and encoded by itself."""
    convert = load_peer(name, weights, device, size)
    jpegs = [bytes(sample.members["jpg"]) for sample in dataset.load(IMAGES, 1)]
    convert(jpegs[0])
    started = time.perf_counter()
    for jpeg in jpegs:
        convert(jpeg)
    return len(jpegs) / (time.perf_counter() - started)


def measure_machine(device: str) -> Machine:
    import torch

    name, side = (torch.cuda.get_device_name(), 8192) if device == "cuda" else ("this CPU, all cores", 1024)
    a = torch.rand(side, side, device=device)
    b = torch.rand(8, side, side, device=device)
    product = best(lambda: a @ a, device)
    copy = best(lambda: b.clone(), device)
    return Machine(device, name, 2 * side**3 / product, 2 * b.nbytes / copy)


def best(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of ten."""
    import torch

    times = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
