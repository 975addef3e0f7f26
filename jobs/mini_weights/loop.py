"""The loop that every network of this project is trained with: steps, checkpoints, a moving average.

One thread; a step's loss is a function of the network and the step's number, so the same seed on the same machine
and libraries gives the same weights bit for bit, interrupted or not. Other processors may round otherwise.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.atomic import replace_file, write_file

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from t2i_shards.adapters.training.distributed import World

Say = Callable[[str], None]
CLIP = 5.0
"""The largest norm of a step's gradient."""


def save_array(path: Path, array: np.ndarray) -> None:
    """Make a .npy file. Through memory: where the disk is full, np.save into a file gives no reason."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_file(path, buffer.getvalue())


@dataclass(frozen=True)
class LoopConfig:
    """How long a network is trained and where its checkpoint is.

    rate: the learning rate of a step. decay: of the moving average of the weights, None for no average.
    """

    name: str
    checkpoint: Path
    steps: int
    rate: Callable[[int], float]
    decay: float | None = None
    log_every: int = 20
    kept_every: int = 100


@dataclass(frozen=True)
class TrainedWeights:
    """weights: the network's state, averaged where a decay is given. seconds: of CPU, over all runs."""

    weights: dict[str, Tensor]
    steps: int
    seconds: float


def learn(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[int], Mapping[str, Tensor]],
    config: LoopConfig,
    say: Say,
    world: World | None = None,
) -> TrainedWeights:
    """Train up to the last step, from the checkpoint if there is one.

    loss: of a step, in named parts that are added up; several workers of a world each have a part of the batch.
    """
    import torch

    from t2i_shards.adapters.training.distributed import World

    world = world or World(torch.device("cpu"))
    start, spent, average = _restore(config.checkpoint, network, optimizer)
    world.barrier()
    before, begun = spent, time.process_time()
    said: dict[str, float] = {}
    for step in range(start, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        parts = loss(step)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        average_gradients(network, world.world_size)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        _blend(average, network, step, config.decay)
        said = {name: said.get(name, 0.0) + float(part.detach()) for name, part in parts.items()}
        if not world.is_main:
            continue
        if (step + 1) % config.log_every == 0:
            shown = " ".join(f"{name} {value / config.log_every:.4f}" for name, value in said.items())
            say(f"{config.name} step {step + 1} of {config.steps}: {shown}")
            said = {}
        if (step + 1) % config.kept_every == 0 or step + 1 == config.steps:
            spent = before + (time.process_time() - begun) * world.world_size
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            _keep(config.checkpoint, {**state, "step": step + 1, "seconds": spent})
    world.barrier()
    return TrainedWeights(average, max(start, config.steps), spent)


def average_gradients(network: nn.Module, world_size: int) -> None:
    """Give each parameter the mean of its gradients on all workers."""
    if world_size == 1:
        return
    import torch
    from torch import distributed

    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def read_trained(checkpoint: Path) -> TrainedWeights | None:
    """The weights of a run so far, finished or not; None before its first checkpoint."""
    import torch

    if not checkpoint.is_file():
        return None
    state = torch.load(checkpoint, weights_only=True)
    return TrainedWeights(state["average"], int(state["step"]), float(state["seconds"]))


def _blend(average: dict[str, Tensor], network: nn.Module, step: int, decay: float | None) -> None:
    """Take the weights into the average; more of them in the first steps, when there is little to average."""
    import torch

    keep = 0.0 if decay is None else min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and keep:
                average[name].lerp_(value, 1 - keep)
            else:
                average[name].copy_(value)


def _restore(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float, dict[str, Tensor]]:
    """Takes up the checkpoint if there is one. Steps done, CPU seconds spent, the average."""
    import torch

    if not checkpoint.is_file():
        return 0, 0.0, {name: value.detach().clone() for name, value in network.state_dict().items()}
    state = torch.load(checkpoint, weights_only=True)
    # Earlier checkpoints: keypose's called the network "model", the others' had no average, none had seconds.
    weights = state["network"] if "network" in state else state["model"]
    network.load_state_dict(weights)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state.get("seconds", 0.0)), state.get("average", dict(weights))


def _keep(checkpoint: Path, state: Mapping[str, object]) -> None:
    import torch

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(checkpoint) as scratch:
        torch.save(dict(state), scratch)
