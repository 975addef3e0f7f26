"""Segmentation: a panoptic network's semantic map in COCO-Stuff's pixel values, as the published adapter saw it.

Its classes are COCO's 133 panoptic ones; merged ones become the COCO-Stuff class whose name they kept
(maps/coco_classes.py). The network sees the picture at its own size: its publisher resizes every one to 384x384 on
the hub and to a short side of 800 in the paper, after which the map would no longer lie on the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.maps.coco_classes import COCO_STUFF, PALETTE, PANOPTIC_TO_VALUE, UNLABELLED
from t2i_shards.extractors.maps.formats import Indexed
from t2i_shards.extractors.maps.statistics import ClassStatistic
from t2i_shards.extractors.metrics.fidelity import Fidelity, Measure
from t2i_shards.extractors.metrics.maps import count_labels, iou_of
from t2i_shards.extractors.networks.spec import IMAGENET_MEAN, IMAGENET_STD, Network, NetworkExtractor
from t2i_shards.extractors.weights.file import WeightFile, shipped

if TYPE_CHECKING:
    from torch import Tensor

SWIN_TINY = WeightFile(
    name="mask2former-swin-tiny-coco-panoptic",
    hub="facebook/mask2former-swin-tiny-coco-panoptic",
    revision="df6b1142ff50c3276559d9d78f35f6a579c75a77",
    filename="model.safetensors",
    bytes=190_052_872,
    sha256="8e154c4f946f4fad9aa511a7d706c89c4254cc6eee28fd932e52c32394c5a29f",
    licence="MIT, that of its publisher's code; the hub's card names none",
)
NETWORKS = {
    "default": Network(
        "Mask2Former Swin-T, COCO panoptic",
        SWIN_TINY,
        "t2i_shards.extractors.networks.mask2former:load_mask2former",
        IMAGENET_MEAN,
        IMAGENET_STD,
        stride=32,
    ),
    "mini": Network(
        "small encoder with a light head",
        shipped("seg.safetensors"),
        "t2i_shards.extractors.networks.mini:load_seg",
        IMAGENET_MEAN,
        IMAGENET_STD,
        stride=32,
    ),
}
NETWORKS["mini-simple"] = replace(NETWORKS["mini"], weights=shipped("seg-simple.safetensors"))
"""Trained further to measure pictures of `--base mini`; see extractors/mini."""


def _count_pixels(condition_map: np.ndarray) -> dict[int, int]:
    counts = np.bincount(condition_map.ravel(), minlength=256)
    return {value: int(counts[value]) for value in np.flatnonzero(counts).tolist()}


def label_name(value: int) -> str:
    """The name of a pixel value."""
    if value < len(COCO_STUFF):
        return COCO_STUFF[value]
    return "unlabelled" if value == UNLABELLED else f"value {value}"


FORMAT = Indexed(
    "seg.png",
    "COCO-Stuff classes, palette PNG: index = class, 255 = none",
    fidelity=Fidelity(
        (Measure("miou", "mIoU", "higher"),),
        count_labels,
        lambda sums: {"miou": iou_of(sums)},
    ),
    statistic=ClassStatistic("labels", "Labels", _count_pixels, label_name),
    palette=PALETTE,
    palette_of="COCO-Stuff's labels",
)
"""Maps: uint8 (H, W) COCO-Stuff pixel values 0..181, 255 = unlabelled."""


class Segmentation(NetworkExtractor):
    """Extractor of the seg map: uint8 (H, W) COCO-Stuff pixel values 0..181."""

    condition = "seg"
    format = FORMAT
    resources = Resources(cpus=1.0, gpus=0.25, memory=3 << 30)
    networks = NETWORKS
    gpu_batch = 4
    output = "the class of the greatest score, as COCO-Stuff pixel value"

    def load(self, device: str) -> None:
        """Build the network on `device` ("cpu", "cuda")."""
        import torch

        super().load(device)
        self.values = torch.tensor(values_of(self.variant), dtype=torch.uint8, device=self.device)

    def _maps(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        # In float32: whether autocast to half is faithful has yet to be measured on a GPU.
        scores: Tensor = self.network(self.published.see(pictures))
        return self.values[scores.argmax(dim=1)[:, :height, :width]]


def values_of(variant: str) -> Sequence[int]:
    """The COCO-Stuff pixel value of each of the network's classes."""
    if variant != "default":
        from t2i_shards.extractors.networks.mini import SEG_LABELS

        return tuple(SEG_LABELS)
    return list(PANOPTIC_TO_VALUE.values())
