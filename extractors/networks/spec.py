"""A published network: where its weights are, how it is built, and how a picture is prepared for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.extractors.weights.file import WeightFile
from t2i_shards.extractors.weights.resolve import resolve

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Network:
    """title: its published name. load: "module:function", which makes the network of a verified weight file.

    mean, std: what RGB in 0..1 is normalised with. stride: sides are padded to multiples of it.
    """

    title: str
    weights: WeightFile
    load: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride: int

    def build(self, folder: Path | None, device: torch.device) -> nn.Module:
        """In eval mode on `device`. `folder` is that of --weights. Raises WeightsUnavailable or WeightsDamaged."""
        module, name = self.load.split(":")
        network: nn.Module = getattr(import_module(module), name)(resolve(self.weights, folder))
        return network.eval().requires_grad_(False).to(device)

    def see(self, pictures: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) RGB -> float32 normalised, the last row and column repeated up to the stride."""
        import torch
        from torch.nn import functional as F

        mean, std = (torch.tensor(v, device=pictures.device).view(3, 1, 1) for v in (self.mean, self.std))
        x = (pictures.float() / 255 - mean) / std
        height, width = pictures.shape[2:]
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        return x.contiguous(memory_format=torch.channels_last)

    def recipe(self, folder: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The weights' and the parameters' part of a column's recipe; the weights are looked up for it."""
        resolve(self.weights, folder)
        parameters = {
            "network": self.title,
            "input": f"(RGB/255 - {list(self.mean)}) / {list(self.std)}",
            "size": f"the picture's own, edges repeated up to multiples of {self.stride}",
        }
        return self.weights.recipe(), parameters
