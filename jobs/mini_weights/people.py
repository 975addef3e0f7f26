"""Scenes with people to learn from: rendered once, kept as JPEG, cropped, scaled and mirrored again each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.extractors.networks.one_stage import GREY
from t2i_shards.jobs.mini_weights.through import Through
from t2i_shards.pipeline.image.stored import encode_jpeg
from t2i_shards.pipeline.scenes import VERSION, render

SIZE = 256
PIECE = 1500
"""Scenes in one file of the cache."""
_MIRRORED = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
_PEOPLED, _PEOPLED_WHOLE = 0.85, 0.67  # share of crops, and of whole scenes, that are taken where people are
_SCALES, _SCALES_WHOLE = (0.8, 1.25), (0.95, 1.05)
_LIGHT = (0.85, 1.15)
_ENOUGH = 4  # keypoints that must be left of a person whom a crop cuts


@dataclass(frozen=True, eq=False)
class Peopled:
    """Scenes 256 px square: pictures as JPEG (bytes in a uint8 array), people (P, 17, 3) as `People.keypoints`."""

    pictures: list[np.ndarray]
    people: list[np.ndarray]


def load_scenes(folder: Path, seed: int, count: int, through: Through | None = None) -> Peopled:
    """The first `count` scenes of a seed, rendered into `folder` where they are not there yet (13 ms each).

    through: in place of scenes of the full world.
    """
    pictures: list[np.ndarray] = []
    people: list[np.ndarray] = []
    for start in range(0, count, PIECE):
        path = folder / f"{through.name + '-' if through else ''}people-v{VERSION}-{seed}-{start}.npz"
        if not path.is_file():
            _render(path, seed, start, through)
        with np.load(path) as piece:
            pictures += np.split(piece["bytes"], np.cumsum(piece["sizes"])[:-1])
            people += np.split(piece["people"], np.cumsum(piece["counts"])[:-1])
    return Peopled(pictures[:count], people[:count])


def _render(path: Path, seed: int, start: int, through: Through | None) -> None:
    indices = range(start, start + PIECE)
    scenes = [through.render(seed, index) if through else render(seed, index, SIZE) for index in indices]
    pictures = [np.frombuffer(encode_jpeg(scene.picture, 95), np.uint8) for scene in scenes]
    people = [scene.people.keypoints for scene in scenes]
    with replace_file(path) as scratch, scratch.open("wb") as file:
        np.savez(
            file,
            bytes=np.concatenate(pictures),
            sizes=[len(picture) for picture in pictures],
            people=np.concatenate(people),
            counts=[len(p) for p in people],
        )


def draw_batch(
    scenes: Peopled, key: tuple[int, int], count: int, size: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Crops uint8 (count, size, size, 3) BGR, as RTMO sees them, and the people in each, float64 (P, 17, 3).

    Of the size of a scene they are whole scenes, nearly at their own scale, with people in as many as there are.
    A pure function of its arguments; `key` is the seed and the step.
    """
    rng = np.random.default_rng(key)
    share = _PEOPLED if size < SIZE else _PEOPLED_WHOLE
    peopled = np.array([i for i, people in enumerate(scenes.people) if len(people)])
    empty = np.array([i for i, people in enumerate(scenes.people) if not len(people)])
    crops, found = [], []
    for _ in range(count):
        index = int(rng.choice(peopled if rng.random() < share else empty))
        picture = np.asarray(cv2.imdecode(scenes.pictures[index], cv2.IMREAD_COLOR))
        crop, people = cut(picture, scenes.people[index], size, rng)
        crops.append(crop)
        found.append(people)
    return np.stack(crops), found


def cut(
    picture: np.ndarray, people: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop around a person, scaled, perhaps mirrored, darker or lighter. Colours keep their hue, so that the
    network learns to tell red from blue.
    """
    scale = np.exp(rng.uniform(*np.log(_SCALES if size < SIZE else _SCALES_WHOLE)))
    room = SIZE * scale - size
    if len(people):
        person = people[rng.integers(len(people))]
        known = person[person[:, 2] > 0, :2]
        middle = (known.min(0) + known.max(0)) / 2 * scale + rng.uniform(-0.3, 0.3, 2) * size
        offset = middle - size / 2
    else:
        offset = rng.uniform(0, max(room, 0), 2)
    offset = np.clip(offset, 0, room) if room > 0 else np.array([room / 2, room / 2])
    mirrored, light = rng.random() < 0.5, rng.uniform(*_LIGHT)
    # A keypoint at x goes to x * scale - offset, column c spanning c..c+1; warpAffine counts from c's middle.
    half = (scale - 1) / 2
    matrix = np.array([[scale, 0, half - offset[0]], [0, scale, half - offset[1]]])
    crop = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=GREY)
    points = people.astype(np.float64)
    points[..., :2] = points[..., :2] * scale - offset
    if mirrored:
        crop = crop[:, ::-1]
        points = points[:, _MIRRORED]
        points[..., 0] = size - points[..., 0]
    points[~((points >= 0) & (points < size)).all(axis=2) | (points[..., 2] == 0)] = 0
    crop = np.clip(crop * light, 0, 255).astype(np.uint8)
    return crop, points[(points[..., 2] > 0).sum(axis=1) >= _ENOUGH]
