"""PiDiNet as its authors publish it (controlnet_aux carries it), with weights drawn at random."""

from typing import Any

from torch import nn


def published(channels: int, dilated: int) -> nn.Module:
    from controlnet_aux.pidi.model import PiDiNet, config_model

    return PiDiNet(channels, config_model("carv4"), dil=dilated, sa=True).eval()


def checkpoint_of(network: nn.Module) -> dict[str, Any]:
    return {"epoch": 19, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}
