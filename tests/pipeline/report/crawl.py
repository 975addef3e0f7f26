"""A dataset of which all is known: what its samples hold, which rows are lost where, and which are alike."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, unseen
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.stage import Stage
from tests.faults.toys import make_images, run_here

SPECIAL = {
    0: "</script><script>alert('x')</script> & <!-- \"quotes\"",
    1: "grün 猫 🙂 Ｗｉｄｅ İstanbul",
    2: "a \\u003c backslash \\ and 'quotes'\u2028in two lines",
}
EXACT = {20: 3}
NEAR = {21: 4, 30: 6}
UNPLANNED = {"aesthetic below minimum": 7, "no caption": 9}
SHARES = (0, 10, 25, 100)
"""Per cent of a sketch that is edge."""
LICENCES: tuple[dict[str, Any], ...] = (
    {},
    {"license": 1, "license_name": "Attribution", "license_url": "https://example/by"},
    {"license": 2, "license_name": "No derivatives", "license_url": "https://example/nd"},
)
TRUTHS = ("sketch", "keypose", "seg")


def caption(index: int) -> str:
    return SPECIAL.get(index, f"picture number {index} of a {'cat' if index % 4 == 0 else 'boat'}")


def reason(index: int) -> str | None:
    """Why a row is lost, and None for one that becomes a sample."""
    if index % 11 == 5:
        return "http 404"
    return "timed out" if index % 13 == 12 else "too small" if index == 17 else None


def host(index: int) -> str:
    return f"host{index % 3}.example"


def kept(count: int) -> list[int]:
    """The rows that become samples."""
    return [index for index in range(count) if reason(index) is None]


def key(index: int) -> str:
    return f"{index:06d}"


def size(index: int) -> tuple[int, int]:
    """(width, height) of the original."""
    index = EXACT.get(index, NEAR.get(index, index))
    return (8, 8) if reason(index) == "too small" else (128, 64) if index % 5 == 0 else (100, 100)


def score(index: int) -> float | None:
    return 4.1 + index % 5 / 2 if index % 2 == 0 else None


def draw(index: int) -> bytes:
    """PNG of blocks of noise, no two alike but those that are to be."""
    drawn = EXACT.get(index, NEAR.get(index, index))
    generator = np.random.Generator(np.random.PCG64(drawn))
    small = Image.fromarray(generator.integers(30, 220, (8, 8, 3), np.uint8))
    picture = np.asarray(small.resize(size(index), Image.Resampling.NEAREST)).copy()
    if index in NEAR:
        picture[:20, :20] += np.uint8(12)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def sketch(index: int, placement: Placement) -> np.ndarray:
    """127, just no edge, but for SHARES[index % 4] per cent of the pixels, which are 128."""
    width, height = placement.crop[2:]
    pixels = np.full(width * height, 127, np.uint8)
    pixels[: -(-width * height * SHARES[index % 4] // 100)] = 128
    return pixels.reshape(height, width)


def people(index: int, placement: Placement) -> People:
    """index % 3 persons."""
    width, height = placement.crop[2:]
    return People(height, width, np.full((index % 3, 17, 3), 0.5, np.float32))


def labels(index: int, placement: Placement) -> np.ndarray:
    """The upper half is a person; the lower one a dog, or unlabelled in every third picture."""
    width, height = placement.crop[2:]
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 2 :] = 255 if index % 3 == 0 else 17
    return pixels


@dataclass(frozen=True)
class Crawl(Source):
    """A source of `count` pictures, in the manner of a download."""

    count: int = 40
    licensed: bool = False

    @property
    def resources(self) -> Resources:
        return Resources()

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "crawl", "rows": self.count}

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        left_out.update(UNPLANNED)
        for index in range(self.count):
            yield Row(key(index), f"https://{host(index)}/{index}.png", extra={"index": index})

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield lambda row: self._open(row.extra["index"])

    def _open(self, index: int) -> Original:
        lost = reason(index)
        if lost not in (None, "too small"):
            raise Drop(lost)
        return Original(
            content=draw(index),
            captions=(caption(index), f"second caption {index}"),
            info=({} if score(index) is None else {"aesthetic": score(index)})
            | (LICENCES[index % 3] if self.licensed else {}),
            truth={
                "sketch": lambda placement: sketch(index, placement),
                "keypose": lambda placement: people(index, placement),
                "seg": lambda placement: labels(index, placement),
            },
        )

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: {"condition": name, "made_by": "crawl"} for name in TRUTHS}


def make_crawl(root: Path, count: int = 40, shard_size: int = 12, licensed: bool = False) -> Dataset:
    """The images, TRUTHS and color of a crawl, its duplicates marked."""
    dataset = make_images(root, Crawl(count, licensed), shard_size, TRUTHS)
    run_here(plan_extract(dataset, ["color"]), dataset.shards)
    mark_duplicates(dataset)
    return dataset


def look_here(stage: Stage, shards: Sequence[int], take: Progress | None = None) -> RunResult:
    """Each shard in turn, in this process."""
    result = RunResult(keep=take is None)
    stage.setup()
    for shard in shards:
        result.add(shard, made := stage(shard))
        if take:
            take(shard, made)
    return result


def keys_in(dataset: Dataset, shard: int) -> list[str]:
    return [sample.key for sample in dataset.load(IMAGES, shard)]
