"""Train the mini RTMO of keypose on this project's scenes; the same command continues where it stopped.

    t2i-shards mini-weights --only keypose

One thread, bfloat16 for the convolutions, float32 for the rest. A step's pictures are a function of seed and step,
so the same seed on the same machine and libraries gives the same weights, interrupted or not; other processors may
round otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.extractors.keypose import MINI
from t2i_shards.extractors.weights.checkpoints import read_tensors, save_tensors
from t2i_shards.extractors.weights.resolve import resolve
from t2i_shards.jobs.mini_weights.loop import LoopConfig, learn
from t2i_shards.jobs.mini_weights.people import SIZE, Peopled, draw_batch, load_scenes
from t2i_shards.jobs.mini_weights.through import Through, file_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LOG_EVERY, SAVED_EVERY = 50, 250
"""Steps."""


@dataclass(frozen=True)
class Training:
    """Where and how long; the scenes and all steps are 45 minutes of one core."""

    out: Path = Path("runs/mini")
    """Folder of the scenes, the checkpoint and the weights."""
    seed: int = 1000
    """Of the scenes, the first weights and the crops."""
    scenes: int = 24000
    """How many are rendered."""
    steps: int = 3100
    """How many batches are learned from."""
    fall: int = 1350
    """The last of them, over which the learning rate falls to zero."""
    more: int = 1300
    """How many batches follow, from a third of the rate down to zero again."""
    batch: int = 32
    """Crops in a batch."""
    crop: int = 192
    """Side of a crop."""
    whole: int = 200
    """The last steps before each zero, which see whole scenes."""
    rate: float = 3e-3
    """Learning rate of AdamW at its highest; see `rate_at`."""
    through: Through | None = None
    """Learn further from the shipped weights, on scenes seen through an autoencoder."""

    @property
    def total(self) -> int:
        return self.steps + self.more


FURTHER = Training(scenes=1500, steps=0, more=700, whole=300, batch=16)
"""Of the shipped weights, with `through`."""


def train(request: Training, say: Callable[[str], None] = print) -> Path:
    """The weights, averaged over the last steps, as safetensors; convolutions and matrices in half precision."""
    from t2i_shards.extractors.batch import fixed_threads
    from t2i_shards.jobs.mini_weights.keypose_loss import losses

    request.out.mkdir(parents=True, exist_ok=True)
    scenes = load_scenes(request.out, request.seed, request.scenes, request.through)
    with fixed_threads(1):
        model, optimizer = begin(request.seed)
        if request.through:
            model.load_state_dict(read_tensors(resolve(MINI.weights, None)))
        loop = LoopConfig(
            "keypose",
            request.out / f"{request.through.name + '-' if request.through else ''}keypose.pt",
            request.total,
            lambda step: rate_at(step, request),
            decay=0.998,
            log_every=LOG_EVERY,
            kept_every=SAVED_EVERY,
        )

        def loss(step: int) -> Mapping[str, Tensor]:
            pictures, people = _batch(scenes, request, step)
            return losses(model, pictures, people)

        average = learn(model.train(), optimizer, loss, loop, say).weights
    # Norms stay as they are: a variance of pixels 0..255 may pass what half precision holds.
    half = {name: (v.half() if v.ndim > 1 else v).contiguous() for name, v in average.items()}
    path = request.out / file_of("keypose", request.through)
    with replace_file(path) as scratch:
        save_tensors(half, scratch)
    return path


def begin(seed: int) -> tuple[Any, torch.optim.Optimizer]:
    """The untrained network, which finds no people, and AdamW without decay of biases and norms."""
    import torch

    from t2i_shards.extractors.networks.mmpose_models import build_model
    from t2i_shards.extractors.networks.rtmo import rtmo_mini

    torch.manual_seed(seed)
    model = build_model(rtmo_mini())
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    branch = model.head.head_module
    for outputs in (branch.out_cls, branch.out_bbox, branch.out_kpt_reg, branch.out_kpt_vis, branch.out_pose):
        torch.nn.init.normal_(outputs[0].weight, std=0.01)
        torch.nn.init.zeros_(outputs[0].bias)
    torch.nn.init.constant_(branch.out_cls[0].bias, -4.6)  # a score of 0.01
    torch.nn.init.constant_(branch.out_bbox[0].bias[2:], 1.4)  # boxes of 65 px
    model = model.to(memory_format=torch.channels_last)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": 0.02},
        {"params": others, "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=1e-3)


def rate_at(step: int, request: Training) -> float:
    """The learning rate of a step: up over 100 steps, along the cosine of 4000, straight down over `fall`; then
    once more up, to a third, and straight down.

    It depends on what was and not on what is to come but for the fall: a run can be prolonged as it goes.
    """
    if step >= request.steps:
        rising = (step - request.steps + 1) / 50
        return request.rate / 3 * min(1.0, rising) * (request.total - step) / request.more
    cosine = 0.5 + 0.5 * float(np.cos(np.pi * step / 4000))
    return (
        request.rate * min(1.0, (step + 1) / 100, (request.steps - step) / request.fall) * (0.01 + 0.99 * cosine)
    )


def _batch(scenes: Peopled, request: Training, step: int) -> tuple[Tensor, list[np.ndarray]]:
    import torch

    left = (request.steps if step < request.steps else request.total) - step
    size = request.crop if left > request.whole else SIZE
    crops, people = draw_batch(scenes, (request.seed, step), request.batch, size)
    pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return pictures.contiguous(memory_format=torch.channels_last), people
