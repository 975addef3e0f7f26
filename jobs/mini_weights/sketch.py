"""Train PiDiNet tiny on the scenes' exact outlines, in the published form: with pixel-difference convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2i_shards.jobs.mini_weights.scenes import Views
from t2i_shards.jobs.mini_weights.train import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

CHANNELS, DILATED = 20, 8
EDGE_WEIGHT = 2.0
"""Of a pixel on an outline: 4 % of all are; at 1 the network doubts every faint one."""
SIDE_WEIGHT = 0.15
"""Of each of the four stages' own edge maps, where the fused one has 1."""


def build() -> nn.Module:
    """The network with kernels as published, all 3x3, before they are folded: see `look`."""
    import torch

    from t2i_shards.extractors.networks.pidinet import KINDS, PiDiNet

    network = PiDiNet(CHANNELS, DILATED)
    for name, kind in KINDS.items():
        if kind == "rd":
            middle = network.get_parameter(f"{name}.weight")[:, :, 1:4, 1:4]
            network.get_submodule(name).weight = torch.nn.Parameter(middle.detach().clone())
    torch.nn.init.constant_(network.classifier.weight, 0.25)
    return network


def look(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Fused edge (N, 1, H, W) in 0..1, and the four stages' logits (N, 4, H, W), with the kernels folded."""
    from torch.func import functional_call

    from t2i_shards.extractors.networks.pidinet import KINDS, fold

    folded = {
        f"{name}.weight": fold(kind, network.get_parameter(f"{name}.weight")) for name, kind in KINDS.items()
    }
    seen: list[Tensor] = []
    hook = network.get_submodule("classifier").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        edge: Tensor = functional_call(network, folded, (x,))
    finally:
        hook.remove()
    return edge, seen[0]


def loss(network: nn.Module, views: Views, step: int) -> Tensor:
    """Binary cross-entropy of the fused edge and, with less weight, of each stage's."""
    import torch
    from torch.nn import functional as F

    del step
    x = torch.from_numpy(views.picture).float() / 255
    truth = torch.from_numpy(views.edges)[:, None].float() / 255
    weight = 1 + (EDGE_WEIGHT - 1) * truth
    edge, sides = look(network, x.contiguous(memory_format=torch.channels_last))
    fused = F.binary_cross_entropy(edge, truth, weight)
    stages = F.binary_cross_entropy_with_logits(sides, truth.expand_as(sides), weight.expand_as(sides))
    return fused + SIDE_WEIGHT * sides.shape[1] * stages


TASK = Task("sketch", build, loss, cycles=(700,), batch=8, rate=5e-3, crop=128, mirror=False, half=False)
"""Not mirrored: an outline lies on the last pixel before a border, which in a mirror is the first one after."""
