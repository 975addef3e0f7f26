"""Sketch: PiDiNet's soft edge, as the published sketch adapter saw it.

RGB / 255, no mean and no standard deviation, the fused last output. controlnet_aux feeds BGR, the network's
own repository normalises with ImageNet statistics: their edges agree with these only to an IoU of 0.82-0.94
and 0.60-0.78.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch, find_device, run_fixed
from t2i_shards.extractors.maps.formats import Grey
from t2i_shards.extractors.maps.statistics import EDGE_DENSITY
from t2i_shards.extractors.metrics.fidelity import EDGE_FIDELITY
from t2i_shards.extractors.weights.file import WeightFile, shipped
from t2i_shards.extractors.weights.resolve import resolve

if TYPE_CHECKING:
    from torch import Tensor

TABLE5 = WeightFile(
    name="pidinet",
    hub="lllyasviel/Annotators",
    revision="982e7edaec38759d914a963c48c4726685de7d96",
    filename="table5_pidinet.pth",
    bytes=2_871_148,
    sha256="80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c",
    licence="research only; commercial use by asking the authors",
)
GPU_BATCH = 8
FORMAT = Grey(
    "sketch.png",
    "soft edges, grey: 255 = edge",
    channels=1,
    values="edges",
    fidelity=EDGE_FIDELITY,
    statistic=EDGE_DENSITY,
)


class Sketch:
    """Extractor of the sketch map: uint8 (H, W), round(255 * edge), so that `map > 127` is `edge >= 0.5`.

    Variants: default, PiDiNet table5 as published; mini, its tiny sibling trained on this project's scenes.
    """

    condition = "sketch"
    format = FORMAT
    resources = Resources(cpus=1.0, gpus=0.25, memory=1 << 30)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant
        self.weights = weights
        if variant == "mini":
            self.resources = self.resources.for_shipped()

    @property
    def weight_files(self) -> tuple[WeightFile]:
        """The one file it needs."""
        return (shipped("sketch.safetensors") if self.variant == "mini" else TABLE5,)

    def recipe(self) -> dict[str, Any]:
        (file,) = self.weight_files
        resolve(file, self.weights)
        name = "PiDiNet tiny" if self.variant == "mini" else "PiDiNet table5"
        return {
            "extractor": "sketch",
            "version": 1,
            "variant": self.variant,
            "weights": file.recipe(),
            "parameters": {"network": name, "input": "RGB/255", "output": "fused"},
        }

    def load(self, device: str) -> None:
        """Build the network on `device` ("cpu", "cuda")."""
        import torch

        from t2i_shards.extractors.networks.pidinet import load_pidinet

        self.device = find_device(device)
        network = load_pidinet(resolve(*self.weight_files, self.weights))
        self.network = network.to(memory_format=torch.channels_last).to(self.device)

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        threads = int(self.resources.cpus)
        return list(run_fixed(self._edges, as_batch(pictures), self.device, GPU_BATCH, threads))

    def _edges(self, pictures: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, H, W); sides are padded to the network's stride, never resized."""
        import torch
        from torch.nn import functional as F

        from t2i_shards.extractors.networks.pidinet import STRIDE
        from t2i_shards.extractors.networks.pidinet_cpu import find_edges

        height, width = pictures.shape[2:]
        x = F.pad(pictures.float() / 255, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        edge: Tensor = find_edges(self.network, x.contiguous(memory_format=torch.channels_last))[
            :, 0, :height, :width
        ]
        return (edge * 255).round().to(torch.uint8)
