"""Depth: MiDaS's inverse depth, near white, as the published depth adapter saw it.

At the picture's own size, with each picture's own least and greatest value: min-max over a batch would mix
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.maps.formats import Grey, scale_to_grey
from t2i_shards.extractors.metrics.fidelity import Fidelity, Measure
from t2i_shards.extractors.metrics.maps import count_abs_rel, mean_of
from t2i_shards.extractors.networks.spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Network, NetworkExtractor
from t2i_shards.extractors.weights.file import WeightFile, shipped

if TYPE_CHECKING:
    from torch import Tensor

DPT_HYBRID = WeightFile(
    name="midas",
    hub="lllyasviel/Annotators",
    revision="982e7edaec38759d914a963c48c4726685de7d96",
    filename="dpt_hybrid-midas-501f0c75.pt",
    sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
    licence="MIT",
)
DEPTH_ANYTHING = WeightFile(
    name="depth-anything-v2-small",
    hub="depth-anything/Depth-Anything-V2-Small-hf",
    revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
    filename="model.safetensors",
    bytes=99_173_660,
    sha256="3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
    licence="Apache-2.0",
)
NETWORKS = {
    "default": Network(
        "MiDaS 3 DPT-hybrid", DPT_HYBRID, "t2i_shards.extractors.networks.midas:load_midas", HALF, HALF, stride=32
    ),
    "depth-anything-v2-small": Network(
        "Depth Anything V2 small",
        DEPTH_ANYTHING,
        "t2i_shards.extractors.networks.depth_anything:load_depth_anything",
        IMAGENET_MEAN,
        IMAGENET_STD,
        stride=14,
    ),
    "mini": Network(
        "small MiDaS",
        shipped("depth.safetensors"),
        "t2i_shards.extractors.networks.mini:load_depth",
        HALF,
        HALF,
        stride=32,
    ),
}
NEAREST, FARTHEST = 1.0, 10.0
"""A depth map has no unit. It is measured as if its white were 1 m away and its black 10 m."""
NEARLY_BLACK = 26


@dataclass(frozen=True)
class DepthMap(Grey):
    """Map: uint8 (H, W), 255 = nearest."""

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        # Min-max scaled, something in it is near: its brightest pixel is far above this.
        if (most := int(pixels.max())) < NEARLY_BLACK:
            return (
                f"its brightest pixel is {most} of 255, and near is expected white: a depth map scaled to 0..255"
            )
        return None


def to_distance(condition_map: np.ndarray) -> np.ndarray:
    """uint8 depth map, which is linear in the inverse of the distance -> metres, float64."""
    near, far = 1 / NEAREST, 1 / FARTHEST
    return np.asarray(1 / (far + (near - far) * condition_map.astype(np.float64) / 255))


FORMAT = DepthMap(
    "depth.png",
    "inverse depth, grey, stretched over the picture's own range: 255 = nearest",
    fidelity=Fidelity(
        (Measure("abs_rel", "depth AbsRel", "lower"),),
        lambda found, given: count_abs_rel(found, to_distance(given)),
        lambda sums: {"abs_rel": mean_of(sums)},
    ),
)


class Depth(NetworkExtractor):
    """Extractor of the depth map: uint8 (H, W), 255 = nearest, 0 = farthest; all 0 where depth is constant."""

    condition = "depth"
    format = FORMAT
    resources = Resources(cpus=1.0, gpus=0.25, memory=2 << 30)
    networks = NETWORKS
    gpu_batch = 8
    output = "inverse depth, min-max of each picture, near white"

    def _maps(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        # In float32: whether autocast to half is faithful has yet to be measured on a GPU.
        return to_grey(self.network(self.published.see(pictures))[:, :height, :width])


def depth_to_map(distance: np.ndarray) -> np.ndarray:
    """Distances in metres, float (H, W), > 0, inf allowed -> the depth map, uint8 (H, W), near white.

    As MiDaS shows depth: inverse distance, min-max over this one picture. Raises ValueError for <= 0 or NaN.
    """
    if not (distance > 0).all():
        raise ValueError(f"distances must be > 0 metres, got {distance[~(distance > 0)].flat[0]}")
    return scale_to_grey(1.0 / distance)


def to_grey(values: Tensor) -> Tensor:
    """(N, H, W) float -> uint8: `formats.scale_to_grey` of each, on the device where the values are."""
    import torch

    low, high = values.amin(dim=(1, 2), keepdim=True), values.amax(dim=(1, 2), keepdim=True)
    flat = low == high
    scaled = (values - low) / (high - low).masked_fill(flat, 1) * 255
    return scaled.round().to(torch.uint8)
