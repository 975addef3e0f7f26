"""A published network: where its weights are, how it is built, and how a picture is prepared for it.

And the extractors that are one such network, which sees pictures at their own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch, find_device, run_fixed
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


class NetworkExtractor:
    """An extractor that is one network per variant. A condition's class adds its own constants, and `_maps`."""

    condition: ClassVar[str]
    resources: Resources
    """As those of the published network; less where the variant is one that ships."""
    networks: ClassVar[Mapping[str, Network]]
    """By variant."""
    gpu_batch: ClassVar[int]
    """Pictures that the network takes at once on a GPU."""
    output: ClassVar[str]
    """What a map is, in the words of the recipe."""

    def __init__(self, variant: str, weights: Path | None) -> None:
        """weights: the folder of --weights. Raises KeyError for a variant that has no network."""
        self.variant = variant
        self.weights = weights
        self.published = self.networks[variant]
        self.weight_files = (self.published.weights,)
        if self.published.weights.shipped:
            self.resources = self.resources.for_shipped()

    def recipe(self) -> dict[str, Any]:
        weights, parameters = self.published.recipe(self.weights)
        return {
            "extractor": self.condition,
            "version": 1,
            "variant": self.variant,
            "weights": weights,
            "parameters": {**parameters, "output": self.output},
        }

    def load(self, device: str) -> None:
        """Build the network on `device` ("cpu", "cuda")."""
        self.device = find_device(device)
        self.network = self.published.build(self.weights, self.device)

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        batch = as_batch(pictures)
        return list(run_fixed(self._maps, batch, self.device, self.gpu_batch, int(self.resources.cpus)))

    def _maps(self, pictures: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) RGB -> the maps, uint8 (N, H, W)."""
        raise NotImplementedError
