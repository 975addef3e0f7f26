"""How the networks for sketch, depth and segmentation are trained: from scenes to a safetensors file.

A step's batch is a function of seed and step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.extractors.weights.checkpoints import read_tensors, save_tensors
from t2i_shards.extractors.weights.file import shipped
from t2i_shards.extractors.weights.resolve import resolve
from t2i_shards.jobs.mini_weights.loop import LoopConfig, Say, learn
from t2i_shards.jobs.mini_weights.scenes import SIZE, Views, draw_views, load_scenes
from t2i_shards.jobs.mini_weights.through import Through, file_of
from t2i_shards.pipeline.scenes import VERSION

if TYPE_CHECKING:
    from torch import Tensor, nn

WARM_UP = 100
"""Steps in which the learning rate rises."""
KEEP_EVERY = 100
"""Steps between checkpoints."""
FEWER = {"scenes": 2250, "steps": 600}
"""Defaults with `through`, where training starts from the shipped weights."""
GENTLE = 0.5
"""Share of the task's learning rate, with `through`."""


@dataclass(frozen=True)
class Task:
    """One network's training.

    build: the untrained network, whose state_dict is what is shipped. loss: of the network on a batch at a step.
    cycles: steps in which the learning rate of AdamW falls from `rate` to 0, one after the other. crop: side of
    the views. mirror: whether half of them are mirrored. half: whether matrices are shipped in float16.
    """

    name: str
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Views, int], Tensor]
    cycles: tuple[int, ...]
    batch: int
    rate: float
    crop: int = SIZE
    mirror: bool = True
    half: bool = True


@dataclass(frozen=True)
class Training:
    """Where, from what and how long. steps: None for the task's own number.

    through: learn further from the shipped weights, on scenes seen through an autoencoder.
    """

    out: Path
    seed: int = 1
    scenes: int = 5000
    steps: int | None = None
    batch: int | None = None
    through: Through | None = None


def train(task: Task, request: Training, say: Say) -> Path:
    """The weights, out/NAME.safetensors. The same call continues from the last checkpoint in out/checkpoints."""
    import torch

    from t2i_shards.extractors.batch import fixed_threads

    task = replace(
        task, cycles=(request.steps,) if request.steps else task.cycles, batch=request.batch or task.batch
    )
    steps, rate = sum(task.cycles), task.rate * (GENTLE if request.through else 1)
    chunks = load_scenes(request.out, request.seed, request.scenes, say, request.through)
    name = f"{task.name}-{request.through.name}" if request.through else task.name
    kept = request.out / "checkpoints" / f"{name}-{request.seed}-{request.scenes}-{steps}-{task.batch}.pt"
    with fixed_threads(1), torch.random.fork_rng():
        torch.manual_seed(request.seed)
        network = task.build().to(memory_format=torch.channels_last).train()
        if request.through:
            network.load_state_dict(read_tensors(resolve(shipped(f"{task.name}.safetensors"), None)))
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
        loop = LoopConfig(
            task.name,
            kept,
            steps,
            lambda step: rate * rate_at(step, task.cycles),
            kept_every=KEEP_EVERY,
        )

        def loss(step: int) -> Mapping[str, Tensor]:
            views = draw_views(chunks, (request.seed, step), task.batch, task.crop, task.mirror)
            return {"loss": task.loss(network, views, step)}

        learn(network, optimizer, loss, loop, say)
    return _export(task, request, network)


def rate_at(step: int, cycles: tuple[int, ...]) -> float:
    """Share of the highest learning rate: a linear rise at the start, half a cosine down to 0 in each cycle."""
    rise, cycle = min(1.0, (step + 1) / WARM_UP), 0
    while step >= cycles[cycle]:
        step, cycle = step - cycles[cycle], cycle + 1
    return rise * (0.5 + 0.5 * math.cos(math.pi * step / cycles[cycle]))


def _export(task: Task, request: Training, network: nn.Module) -> Path:
    """Norms stay float32: a variance may pass what float16 holds. One entry of metadata: several have no order."""
    scenes = request.through.title if request.through else f"procedural scenes of {SIZE} px, version {VERSION}"
    said = {
        "trained_on": f"{request.scenes} {scenes}, seed {request.seed}",
        "steps": sum(task.cycles),
        "batch": task.batch,
        "licence": "Apache-2.0",
    }
    tensors = {
        name: (value.half() if task.half and value.ndim > 1 else value).contiguous()
        for name, value in network.state_dict().items()
    }
    path = request.out / file_of(task.name, request.through)
    with replace_file(path) as scratch:
        save_tensors(tensors, scratch, {"t2i-shards": json.dumps(said)})
    return path
