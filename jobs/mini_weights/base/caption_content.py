"""Which parts of a caption are found in a picture, by the small segmentation network and by colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from t2i_shards.extractors.base import Extractor
from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.materials import COLOURS, PATTERNS

GROUNDS = {
    "grass": labels.GRASS,
    "meadow": labels.GRASS,
    "lawn": labels.GRASS,
    "sand": labels.SAND,
    "sandy": labels.SAND,
    "snow": labels.SNOW,
    "earth": labels.DIRT,
    "soil": labels.DIRT,
    "road": labels.ROAD,
    "street": labels.ROAD,
    "square": labels.PAVEMENT,
    "slabs": labels.PAVEMENT,
}
SKIES = ("clear blue sky", "blue sky with clouds", "grey sky", "sunset")
THINGS = {
    "cube": labels.SOLID,
    "sphere": labels.SOLID,
    "cylinder": labels.SOLID,
    "cone": labels.SOLID,
    "pyramid": labels.SOLID,
    "ball": labels.SPORTS_BALL,
    "car": labels.CAR,
    "tent": labels.TENT,
}
SEEN_AT = 256
"""Side to which pictures are enlarged for the segmentation network, which was trained on such."""
PERSON_SHARE = 0.018
"""Share of the picture from which on a person counts as found."""
COLOUR_SHARE = 0.003
"""Of the picture that must be a thing and have its colour."""
SKY_ROWS = 0.25
"""The upper share of a picture, where the simple scenes have sky."""


@dataclass(frozen=True)
class CaptionContent:
    """What a caption names that can be looked for; None or empty where it names none.

    ground: label. sky: place in `SKIES`. things: (colour, label), of those without a pattern. person: whether
    anybody is named.
    """

    ground: int | None
    sky: int | None
    things: tuple[tuple[str, int], ...]
    person: bool


def read_caption(caption: str) -> CaptionContent:
    words = re.findall(r"[a-z]+", caption)
    ground = next((GROUNDS[word] for word in words if word in GROUNDS), None)
    sky = next((place for place, said in enumerate(SKIES) if said in caption), None)
    named = [
        (words[at - 1], THINGS[word])
        for at, word in enumerate(words)
        if at and word in THINGS and words[at - 1] in COLOURS and not (at > 1 and words[at - 2] in PATTERNS)
    ]
    return CaptionContent(ground, sky, tuple(named), "person" in words)


def label_pictures(pictures: np.ndarray, segmentation: Extractor) -> list[np.ndarray]:
    """Labels uint8 (SEEN_AT, SEEN_AT) of pictures uint8 (N, S, S, 3)."""
    side = (SEEN_AT, SEEN_AT)
    return [
        segmentation(cv2.resize(picture, side, interpolation=cv2.INTER_CUBIC)[None])[0] for picture in pictures
    ]


def find_ground(seen: np.ndarray) -> int:
    """The ground that covers most."""
    grounds = sorted(set(GROUNDS.values()))
    return max(grounds, key=lambda label: int((seen == label).sum()))


def find_person(seen: np.ndarray) -> bool:
    return bool((seen == labels.PERSON).mean() >= PERSON_SHARE)


def find_thing(picture: np.ndarray, seen: np.ndarray, colour: str, label: int) -> bool:
    """Whether an object of that label shows that colour."""
    there = cv2.resize((seen == label).astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
    shown = name_colours(picture)[there]
    return bool((shown == list(COLOURS).index(colour)).sum() >= COLOUR_SHARE * there.size)


def name_colours(picture: np.ndarray) -> np.ndarray:
    """The place in `COLOURS` of the nearest one, int (H, W); lightness weighs half, because of shadows."""

    def lab(rgb: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB) * np.array([0.5, 1, 1], np.float32)

    names = lab(np.array([list(COLOURS.values())]))[0]
    distance = ((lab(picture / 255)[:, :, None] - names) ** 2).sum(axis=3)
    return np.asarray(distance.argmin(axis=2))


@dataclass(frozen=True)
class SkyClasses:
    """Which of `SKIES` a picture has: the nearest mean, by its spread over true scenes. means: (4, D)."""

    means: np.ndarray
    inverse: np.ndarray

    def __call__(self, picture: np.ndarray) -> int:
        away = self.means - sky_features(picture)
        return int(np.einsum("kd,de,ke->k", away, self.inverse, away).argmin())


def fit_skies(pictures: Sequence[np.ndarray], skies: Sequence[int]) -> SkyClasses:
    looks, classes = np.stack([sky_features(picture) for picture in pictures]), np.array(skies)
    means = np.stack([looks[classes == k].mean(axis=0) for k in range(len(SKIES))])
    spread = np.cov((looks - means[classes]).T) + 1e-6 * np.eye(looks.shape[1])
    return SkyClasses(means, np.linalg.inv(spread))


def sky_features(picture: np.ndarray) -> np.ndarray:
    """Mean and deviation of the three colours over the upper rows, float64 (6,), 0..1."""
    upper = picture[: int(len(picture) * SKY_ROWS)].reshape(-1, 3) / 255
    return np.concatenate([upper.mean(axis=0), upper.std(axis=0)])
