"""Scenes with their ground truth for training: rendered once into files, drawn from as batches of crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_shards.jobs.mini_weights.loop import save_array
from t2i_shards.jobs.mini_weights.through import Through
from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.scenes import VERSION, render

SIZE = 256
CHUNK = 250
"""Scenes in a file, 115 MB."""


@dataclass(frozen=True)
class Views:
    """A batch of crops.

    picture: uint8 (N, 3, C, C) RGB. inverse: float32 (N, C, C), 1 / metres. labels, edges: uint8 (N, C, C).
    """

    picture: np.ndarray
    inverse: np.ndarray
    labels: np.ndarray
    edges: np.ndarray


def load_scenes(
    folder: Path, seed: int, count: int, say: Callable[[str], None], through: Through | None = None
) -> list[np.ndarray]:
    """Scenes 0..count - 1 of a seed as memory-mapped files of `CHUNK` scenes; what is not there yet is rendered.

    through: in place of scenes of the full world. Each file appears whole or not at all, so a run continues where
    another stopped, and two may run at the same time.
    """
    use_threads(1)
    place = folder / f"{through.name if through else 'scenes'}-v{VERSION}-seed{seed}-{SIZE}"
    place.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        path = place / f"{start:06d}-{size}.npy"
        if not path.is_file():
            save_array(path, _render(seed, start, size, through))
            say(f"scenes {start + size} of {count} rendered")
        chunks.append(np.load(path, mmap_mode="r"))
    return chunks


def _render(seed: int, start: int, count: int, through: Through | None) -> np.ndarray:
    plane = (SIZE, SIZE)
    rows = np.empty(
        count,
        [
            ("picture", "u1", (*plane, 3)),
            ("inverse", "f2", plane),
            ("labels", "u1", plane),
            ("edges", "u1", plane),
        ],
    )
    for row, index in zip(rows, range(start, start + count), strict=True):
        scene = through.render(seed, index) if through else render(seed, index, SIZE)
        row["picture"], row["labels"], row["edges"] = scene.picture, scene.labels, scene.edges
        row["inverse"] = 1 / scene.depth
    return rows


def draw_views(chunks: list[np.ndarray], key: tuple[int, int], batch: int, crop: int, mirror: bool) -> Views:
    """Random crops of random scenes, half of them mirrored if asked; a pure function of scenes and `key`.

    The light varies by up to 20 % in brightness and in gamma, and each second picture is a little noisy.
    """
    rng = np.random.default_rng(key)
    pictures, views = [], []
    for _ in range(batch):
        index = int(rng.integers(sum(len(chunk) for chunk in chunks)))
        row = chunks[index // CHUNK][index % CHUNK]
        y, x = (int(v) for v in rng.integers(SIZE - crop + 1, size=2))
        step = -1 if mirror and rng.random() < 0.5 else 1
        view = [row[name][y : y + crop, x : x + crop][:, ::step] for name in ("inverse", "labels", "edges")]
        pictures.append(_relit(row["picture"][y : y + crop, x : x + crop][:, ::step], rng))
        views.append(view)
    inverse, labels, edges = (np.stack(planes) for planes in zip(*views, strict=True))
    return Views(np.stack(pictures).transpose(0, 3, 1, 2), inverse.astype(np.float32), labels, edges)


def _relit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gain, gamma = rng.uniform(0.8, 1.2), 2 ** rng.uniform(-0.25, 0.25)
    table = 255 * np.minimum(gain * (np.arange(256) / 255) ** gamma, 1)
    lit = table.astype(np.float32)[picture]
    if rng.random() < 0.5:
        lit += rng.standard_normal(lit.shape, np.float32) * np.float32(rng.uniform(0, 5))
    return np.asarray(np.clip(lit + np.float32(0.5), 0, 255), np.uint8)
