"""Procedural scenes as a source: endless, captioned, with exact ground truth, and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.depth import depth_to_map
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.scenes import VERSION, LayoutName, render
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, unseen
from t2i_shards.pipeline.sources.row import Row


@dataclass(frozen=True)
class ScenesSource(Source):
    """Picture i of seed s of a world is always the same."""

    crawl: ClassVar = False

    samples: Common[int] = 1000
    """How many scenes."""
    seed: Common[int] = 0
    """Of the scenes: with the same number they are the same."""
    world: Common[LayoutName] = "full"
    """full, or simple: one ground and one sky, one to three things, at most one person, who is large."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise RequestError(f"--samples must be at least 1, not {self.samples}")

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        # Datasets made before there was a choice name no world: theirs is the full one.
        world = {} if self.world == "full" else {"world": self.world}
        return {"kind": "scenes", "version": VERSION, "samples": self.samples, "seed": self.seed, **world}

    @property
    def resources(self) -> Resources:
        return Resources()

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        prefix = "scene:" if self.world == "full" else f"scene:{self.world}/"
        for index in range(self.samples):
            seen(1)
            yield Row(f"{index:09d}", f"{prefix}{self.seed}/{index}", extra={"index": index})

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield lambda row: self._open(row, size)

    def _open(self, row: Row, size: int) -> Original:
        index = row.extra["index"]
        scene = render(self.seed, index, size, self.world)
        return Original(
            content=scene.picture,
            captions=(scene.caption,),
            info={"scene": index, "persons": len(scene.people.keypoints)},
            truth={
                "depth": lambda _: depth_to_map(scene.depth),
                "seg": lambda _: scene.labels,
                "keypose": lambda _: scene.people,
                "sketch": lambda _: scene.edges,
            },
        )

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        made_by = {"made_by": "scenes", "version": VERSION, "licence": "Apache-2.0"}
        return {name: {"condition": name, **made_by} for name in ("depth", "seg", "keypose", "sketch")}
