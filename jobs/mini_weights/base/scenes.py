"""The pictures and captions that the base mini is trained on: rendered once into files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.atomic import write_file
from t2i_shards.jobs.mini_weights.loop import Say, save_array
from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.scenes import VERSION, LayoutName, render

if TYPE_CHECKING:
    from t2i_shards.adapters.training.distributed import World

SIZE = 128
WORLD: LayoutName = "simple"
CHUNK = 1000
"""Scenes in a file, 49 MB."""


@dataclass(frozen=True)
class CaptionedScenes:
    """pictures: memory-mapped uint8 (CHUNK, SIZE, SIZE, 3) each, the last one perhaps shorter."""

    pictures: list[np.ndarray]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def picture(self, index: int) -> np.ndarray:
        chosen: np.ndarray = self.pictures[index // CHUNK][index % CHUNK]
        return chosen


def load_scenes(folder: Path, seed: int, count: int, say: Say, world: World) -> CaptionedScenes:
    """Scenes 0..count - 1 of a seed; what is not there yet is rendered, each file by one of the workers.

    Each file appears whole or not at all, so a run continues where another stopped.
    """
    use_threads(1)
    place = folder / f"{WORLD}-v{VERSION}-seed{seed}-{SIZE}"
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for number, start in enumerate(range(0, count, CHUNK)):
        size = min(CHUNK, count - start)
        pictures, captions = (place / f"{start:06d}-{size}.{kind}" for kind in ("npy", "json"))
        files.append((pictures, captions))
        if number % world.world_size == world.rank and not pictures.is_file():
            _render(seed, start, size, pictures, captions)
            say(f"scenes {start + size} of {count} rendered")
    world.barrier()
    captioned = [caption for _, captions in files for caption in json.loads(captions.read_text())]
    return CaptionedScenes([np.load(pictures, mmap_mode="r") for pictures, _ in files], captioned)


def _render(seed: int, start: int, count: int, pictures: Path, captions: Path) -> None:
    """The file of pictures comes last: where it is, that of the captions is."""
    rendered = np.empty((count, SIZE, SIZE, 3), np.uint8)
    said = []
    for row, index in enumerate(range(start, start + count)):
        scene = render(seed, index, SIZE, WORLD)
        rendered[row] = scene.picture
        said.append(scene.caption)
    write_file(captions, json.dumps(said))
    save_array(pictures, rendered)
