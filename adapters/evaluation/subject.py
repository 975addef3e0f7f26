"""What is evaluated: a T2I-Adapter, or a ControlNet that diffusers loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from t2i_shards.adapters.base import Base, Control, digest_networks
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.controlnet import check_controlnet, read_controlnet
from t2i_shards.adapters.model.convert import read_adapter

if TYPE_CHECKING:
    from diffusers import ControlNetModel


@dataclass(frozen=True)
class Subject:
    """path: as the user gave it. digest: sha256 of the weights."""

    path: Path
    network: Adapter | ControlNetModel
    digest: str

    @property
    def kind(self) -> str:
        """Its name in tables."""
        return "adapter" if isinstance(self.network, Adapter) else "ControlNet"

    @property
    def channels(self) -> int:
        """Of the control images."""
        if isinstance(self.network, Adapter):
            return self.network.config.in_channels
        return int(self.network.config.conditioning_channels)

    def suit(self, base: Base) -> None:
        """Convert a ControlNet to the base's dtype. RequestError where it is for another kind of base.

        Of adapters `generate` says so, and casts their features.
        """
        if not isinstance(self.network, Adapter):
            check_controlnet(base, self.network, f"--controlnet {self.path}")
            self.network.to(base.dtype)

    def guide(self, control_images: torch.Tensor) -> dict[str, Any]:
        """The arguments by which `generate` is given it."""
        if isinstance(self.network, Adapter):
            return {"adapter_inputs": [AdapterInput(self.network, control_images, name=f"--adapter {self.path}")]}
        return {"adapter_inputs": [], "control": Control(self.network, control_images)}


def read_subject(config: EvaluateConfig, device: str) -> Subject:
    """What the request asks to evaluate. Raises RequestError where there is none."""
    if config.controlnet is not None:
        network = read_controlnet(config.controlnet).to(device)
        return Subject(config.controlnet, network, digest_networks({"controlnet": network}))
    assert config.adapter is not None
    adapter = read_adapter(config.adapter).to(device)
    return Subject(config.adapter, adapter, digest_networks({"adapter": adapter}))
