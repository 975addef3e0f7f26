"""Several adapters on one base: their features are added, each with a weight (arXiv 2302.08453, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.config import SIZE_OF_FAMILY, AdapterConfig, adapter_config_for
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class AdapterInput:
    """One adapter, what it is given, and how much it counts.

    control_images: float32 (N, C, H, W) in 0..1, C the adapter's channels, H and W multiples of 64. name: what the
    user calls it, for messages. active_steps: the part of the denoising in which it acts; None for the sampling's.
    """

    adapter: Adapter
    control_images: torch.Tensor
    weight: float = 1.0
    name: str = "adapter"
    active_steps: str | None = None

    def to(self, device: torch.device | str) -> AdapterInput:
        return replace(self, adapter=self.adapter.to(device), control_images=self.control_images.to(device))


def compose(adapter_inputs: Sequence[AdapterInput], scale: float = 1.0) -> list[torch.Tensor]:
    """scale * (w_1 F_1 + w_2 F_2 + ...) for each of the UNet's blocks on the way down, summed from left to right.

    Raises RequestError for adapters whose features differ in shape.
    """
    check_compatible(adapter_inputs)
    total = [
        feature * adapter_inputs[0].weight
        for feature in adapter_inputs[0].adapter(adapter_inputs[0].control_images)
    ]
    for adapter_input in adapter_inputs[1:]:
        features = adapter_input.adapter(adapter_input.control_images)
        total = [sum_ + feature * adapter_input.weight for sum_, feature in zip(total, features, strict=True)]
    return [feature * scale for feature in total]


def check_compatible(adapter_inputs: Sequence[AdapterInput]) -> None:
    """Raises RequestError unless the features of all adapters have the same shapes, and so can be added."""
    for adapter_input in adapter_inputs[1:]:
        first, other = _features(adapter_inputs[0].adapter.config), _features(adapter_input.adapter.config)
        if first != other:
            raise RequestError(
                "adapters that are combined must have features of the same widths at the same sizes: "
                f"{adapter_inputs[0].name} has {first}, {adapter_input.name} has {other}"
            )


def check_base(base: Base, adapter_inputs: Sequence[AdapterInput]) -> None:
    """Raises RequestError for an adapter that was made for a UNet of another shape."""
    expected = _features(adapter_config_for(SIZE_OF_FAMILY[base.family], 1, base.widths))
    for adapter_input in adapter_inputs:
        found = _features(adapter_input.adapter.config)
        if found != expected:
            raise RequestError(
                "an adapter goes with bases of the family that it was trained on: "
                f"{adapter_input.name} has features of widths and sizes {found}, and the base takes {expected}"
            )


def _features(config: AdapterConfig) -> str:
    """Width of each feature, and by how much it is smaller than the picture: "320/8 640/16 1280/32 1280/64"."""
    shrunk, names = config.size.unshuffle, []
    for channels, down in zip(config.channels, config.size.downs, strict=True):
        shrunk *= 2 if down else 1
        names.append(f"{channels}/{shrunk}")
    return " ".join(names)
