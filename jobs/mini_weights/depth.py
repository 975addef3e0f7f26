"""Train the small depth network on the scenes' exact inverse depth, up to scale and shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2i_shards.extractors.networks.mini import SmallDepth
from t2i_shards.jobs.mini_weights.scenes import Views
from t2i_shards.jobs.mini_weights.train import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

FARTHEST = 80.0
"""Metres from where on an error counts no more than here."""
SCALES = 4
"""The gradient term looks at the picture and at its halves, quarters and eighths."""
GRADIENT = 0.5


def loss(network: nn.Module, views: Views, step: int) -> Tensor:
    """MiDaS's loss (Ranftl et al., TPAMI 2022, section 5) on inverse depth: means of absolute errors after each
    map is brought to mean 0 and mean deviation 1, and of their gradients on four scales.

    Besides, the error is counted relative to the true inverse depth, for this is what is measured in metres.
    """
    import torch

    del step
    x = torch.from_numpy(views.picture).float() / 127.5 - 1
    truth = torch.from_numpy(views.inverse)
    found = network(x.contiguous(memory_format=torch.channels_last))
    (a, _), (b, spread) = standardise(found), standardise(truth)
    error = a - b
    relative = error.abs() * spread / (truth + 1 / FARTHEST)
    return 0.5 * error.abs().mean() + 2 * relative.mean() + GRADIENT * gradients(error)


def standardise(values: Tensor) -> tuple[Tensor, Tensor]:
    """(N, H, W) minus each map's mean, over its mean absolute deviation; and that deviation (N, 1, 1)."""
    centred = values - values.mean(dim=(1, 2), keepdim=True)
    spread = centred.abs().mean(dim=(1, 2), keepdim=True)
    return centred / (spread + 1e-6), spread


def gradients(error: Tensor) -> Tensor:
    """The mean absolute difference between neighbours of the error map, summed over scales."""
    parts = []
    for scale in range(SCALES):
        e = error[:, :: 2**scale, :: 2**scale]
        parts.append((e[:, 1:] - e[:, :-1]).abs().mean() + (e[:, :, 1:] - e[:, :, :-1]).abs().mean())
    total: Tensor = sum(parts[1:], start=parts[0])
    return total


TASK = Task("depth", SmallDepth, loss, cycles=(1300, 2000, 5000), batch=8, rate=2e-3)
