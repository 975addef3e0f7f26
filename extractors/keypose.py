"""Keypose: people's keypoints by MMPose, in COCO's order of 17."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch, find_device
from t2i_shards.extractors.maps.people import People, is_drawn
from t2i_shards.extractors.maps.people_format import PeopleFormat
from t2i_shards.extractors.maps.statistics import NumberStatistic
from t2i_shards.extractors.metrics.fidelity import Fidelity, Measure
from t2i_shards.extractors.metrics.keypoints import Found
from t2i_shards.extractors.metrics.keypoints import count as count_keypoints
from t2i_shards.extractors.networks import mmpose_models, rtmo
from t2i_shards.extractors.weights.file import WeightFile, shipped
from t2i_shards.extractors.weights.resolve import resolve

GPU_PICTURES, GPU_CROPS = 8, 32

_AT = "https://download.openmmlab.com/mmpose/v1"
_LICENCE = "Apache-2.0"
RTMO_M = WeightFile(
    name="mmpose",
    filename="rtmo-m_16xb16-600e_coco-640x640-6f4e0306_20231211.pth",
    url=f"{_AT}/projects/rtmo/rtmo-m_16xb16-600e_coco-640x640-6f4e0306_20231211.pth",
    sha256="6f4e0306",
    licence=_LICENCE,
)
HRNET_W48 = WeightFile(
    name="mmpose",
    filename="td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth",
    url=f"{_AT}/body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth",
    sha256="0e67c616",
    licence=_LICENCE,
)
RTMPOSE_M = WeightFile(
    name="mmpose",
    filename="rtmpose-m_simcc-aic-coco_pt-aic-coco_420e-256x192-63eb25f7_20230126.pth",
    url=f"{_AT}/projects/rtmposev1/rtmpose-m_simcc-aic-coco_pt-aic-coco_420e-256x192-63eb25f7_20230126.pth",
    sha256="63eb25f7",
    licence=_LICENCE,
)

MOST_PERSONS = 12
"""This many and more fall into one bin of a report."""


@dataclass(frozen=True)
class Network:
    """Its published name, its weights, what makes its configuration; the least score of a person it finds."""

    title: str
    weights: WeightFile
    config: Callable[[], dict[str, Any]]
    threshold: float = 0.0


RTMO = Network("RTMO-m 640x640", RTMO_M, rtmo.rtmo_m, threshold=0.3)
MINI = Network("RTMO mini 256x256", shipped("keypose.safetensors"), rtmo.rtmo_mini, threshold=0.5)
MINI_SIMPLE = replace(MINI, weights=shipped("keypose-simple.safetensors"))
"""Trained further to measure pictures of `--base mini`; see extractors/mini."""
HRNET = Network("HRNet-w48 256x192", HRNET_W48, mmpose_models.hrnet_w48)
RTMPOSE = Network("RTMPose-m 256x192", RTMPOSE_M, mmpose_models.rtmpose_m)

VARIANTS: dict[str, tuple[Network, Network | None]] = {
    "default": (RTMO, None),
    "hrnet": (RTMO, HRNET),
    "rtmpose": (RTMO, RTMPOSE),
    "mini": (MINI, None),
    "mini-simple": (MINI_SIMPLE, None),
}
"""The network that finds people and, where that is another one, the network that finds their keypoints.

Of RTMO's sizes m: 0.709 AP on COCO against 0.673 (s) and 0.724 (l), for 32 GMAC against 12 and 67, where depth
takes 235. Its threshold is that of mmpose's demos; the small one, whose scores were trained to be 1, has its own.
"""


def _count_people(found: People, given: People) -> np.ndarray:
    return count_keypoints(_drawn(given), found.keypoints)


def _measure_people(sums: np.ndarray) -> dict[str, float]:
    counts = Found(*sums.tolist())
    people = {
        "people_given": float(counts.people),
        "people_found": float(counts.people - counts.missed + counts.invented),
    }
    return {"pck": counts.pck, **people}


def _drawn(people: People) -> np.ndarray:
    """The keypoints that are seen in the control image; others become unknown, people without any are left out."""
    points = people.keypoints.copy()
    points[~is_drawn(points), 2] = 0
    return np.asarray(points[(points[..., 2] > 0).any(axis=1)])


FORMAT = PeopleFormat(
    fidelity=Fidelity(
        (
            Measure("pck", "PCK@0.1", "higher"),
            Measure("people_given", "people given", None),
            Measure("people_found", "people found", None),
        ),
        _count_people,
        _measure_people,
    ),
    statistic=NumberStatistic(
        "persons",
        "Persons in a picture",
        MOST_PERSONS + 1,
        lambda people: min(len(people), MOST_PERSONS),
        lambda number: f"{number}+" if number == MOST_PERSONS else str(number),
    ),
)


class Keypose:
    """Extractor of the keypose map: `People`, best first, of whom the control image shows two.

    Nobody with a score over the threshold is a map of no people, drawn black. Pictures are scaled to the network's
    side and the keypoints back, so these are exact to a fraction of a pixel.
    """

    condition = "keypose"
    format = FORMAT
    resources = Resources(cpus=1.0, gpus=0.25, memory=3 << 29)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant
        self.weights = weights
        self.finder, self.looker = VARIANTS[variant]
        self.weight_files = tuple(network.weights for network in VARIANTS[variant] if network)
        if self.finder.weights.shipped:
            self.resources = self.resources.for_shipped()

    def recipe(self) -> dict[str, Any]:
        for file in self.weight_files:
            resolve(file, self.weights)
        last = self.looker or self.finder
        parameters: dict[str, Any] = {"network": last.title, "threshold": self.finder.threshold}
        if self.looker:
            boxes = {"network": self.finder.title, **self.finder.weights.recipe()}
            parameters = {**parameters, "boxes": boxes, "flip_test": False}
        return {
            "extractor": "keypose",
            "version": 1,
            "variant": self.variant,
            "weights": last.weights.recipe(),
            "parameters": parameters,
        }

    def load(self, device: str) -> None:
        """Build the networks on `device` ("cpu", "cuda")."""
        from t2i_shards.extractors.networks.one_stage import OneStage
        from t2i_shards.extractors.networks.top_down import TopDown

        place, threads = find_device(device), int(self.resources.cpus)
        finder = self._model(self.finder)
        self.find = OneStage(finder, place, self.finder.threshold, GPU_PICTURES, threads)
        self.backbone = finder.backbone
        self.look = None
        if self.looker:
            looker = self._model(self.looker)
            self.look = TopDown(looker, place, GPU_CROPS, threads)
            self.crop_backbone = looker.backbone

    def _model(self, network: Network) -> Any:
        return mmpose_models.load_model(network.config(), resolve(network.weights, self.weights))

    def __call__(self, pictures: np.ndarray | Batch) -> list[People]:
        batch = as_batch(pictures)
        height, width = batch.pictures.shape[1:3]
        found = self.find(batch)
        keypoints = [people.keypoints for people in found]
        if self.look:
            keypoints = self.look(batch, [_whole(people.boxes) for people in found])
        return [People(height, width, points) for points in keypoints]


def _whole(boxes: np.ndarray) -> np.ndarray:
    """Those that have at least a pixel each way: less is a person outside the picture, who cannot be cropped."""
    return np.asarray(boxes[(boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)])
