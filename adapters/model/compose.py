"""Several adapters on one base: their features are added, each with a weight (arXiv 2302.08453, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from adapters.base import Base
from adapters.model.adapter import Adapter
from adapters.model.config import Layout, layout_for
from pipeline.errors import RequestError


@dataclass(frozen=True)
class Part:
    """One adapter, what it is given, and how much it counts.

    drawings: float32 (N, C, H, W) in 0..1, C the adapter's channels, H and W multiples of 64. name: as the user
    calls it, for messages.
    """

    adapter: Adapter
    drawings: torch.Tensor
    weight: float = 1.0
    name: str = "adapter"

    def to(self, device: torch.device | str) -> Part:
        return replace(self, adapter=self.adapter.to(device), drawings=self.drawings.to(device))


def compose(parts: Sequence[Part], scale: float = 1.0) -> list[torch.Tensor]:
    """scale * (w_1 F_1 + w_2 F_2 + ...) for each of the UNet's blocks on the way down, summed from left to right.

    Raises RequestError for adapters whose features differ in shape.
    """
    check_together(parts)
    total = [feature * parts[0].weight for feature in parts[0].adapter(parts[0].drawings)]
    for part in parts[1:]:
        features = part.adapter(part.drawings)
        total = [sum_ + feature * part.weight for sum_, feature in zip(total, features, strict=True)]
    return [feature * scale for feature in total]


def check_together(parts: Sequence[Part]) -> None:
    """Raises RequestError unless the features of all parts have the same shapes, and so can be added."""
    for part in parts[1:]:
        first, other = _features(parts[0].adapter.layout), _features(part.adapter.layout)
        if first != other:
            raise RequestError(
                "adapters that are combined must have features of the same widths at the same sizes: "
                f"{parts[0].name} has {first}, {part.name} has {other}"
            )


def check_base(base: Base, parts: Sequence[Part]) -> None:
    """Raises RequestError for an adapter that was made for a UNet of another shape."""
    expected = _features(layout_for("xl" if base.family == "sdxl" else "base", 1, base.widths))
    for part in parts:
        found = _features(part.adapter.layout)
        if found != expected:
            raise RequestError(
                f"an adapter goes with bases of the family that it was trained on: {part.name} has features of "
                f"widths and sizes {found}, and the base takes {expected}"
            )


def _features(layout: Layout) -> str:
    """Width of each feature, and by how much it is smaller than the picture: "320/8 640/16 1280/32 1280/64"."""
    shrunk, names = layout.size.unshuffle, []
    for channels, down in zip(layout.channels, layout.size.downs, strict=True):
        shrunk *= 2 if down else 1
        names.append(f"{channels}/{shrunk}")
    return " ".join(names)
