"""The ways in which an evaluation makes its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.base import Base, digest_base, digest_networks
from adapters.evaluation.config import EvaluateConfig
from adapters.evaluation.example import Given, frame_middle, seed_of
from adapters.evaluation.samples import Chosen
from adapters.inference.control_images import to_drawing
from adapters.inference.image_folder import Album, digest_array
from adapters.inference.sampler import describe_sampler, generate
from adapters.model.adapter import Adapter
from adapters.model.compose import Part

Progress = Callable[[int, int], Any]
"""Is told how many pictures are made, and of how many."""


@dataclass(frozen=True)
class Way:
    """One way to make the samples' pictures. name: of its folder. drawn: place in the samples of the drawing."""

    name: str
    title: str
    drawn: Callable[[int], int] | None


Pictures = Callable[[], Iterator[np.ndarray]]
"""Gives the pictures of all samples anew, one at a time: thousands need not be in memory at once."""


class Givens(Sequence[Given]):
    """The samples as they are used, decoded anew each time."""

    def __init__(self, chosen: Chosen, condition: str, size: int) -> None:
        self._samples, self._condition, self.size = chosen.samples, condition, size

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return frame_middle(self._samples[place], self._condition, self.size)


class Maker:
    """Makes the pictures of all ways, and keeps them."""

    def __init__(
        self, config: EvaluateConfig, base: Base, adapter: Adapter, givens: Givens, folder: Path, said: Progress
    ) -> None:
        self._config, self._base, self._adapter, self._givens = config, base, adapter, givens
        self._folder, self._said, self._done = folder, said, 0
        self.base_digest, self.adapter_digest = digest_base(base), digest_networks({"adapter": adapter})

    def make(self, way: Way) -> Pictures:
        """The pictures of one way; those that are there already are not made again."""
        config = self._config
        album = Album(
            self._folder / way.name,
            {
                "base": self.base_digest,
                "adapter": self.adapter_digest if way.drawn else None,
                "size": self._givens.size,
                "precision": config.precision,
                "batch": config.batch,
                **asdict(config.sampling),
                **describe_sampler(self._base),
            },
        )
        names: list[str] = []
        for first in range(0, len(self._givens), config.batch):
            places = range(first, min(first + config.batch, len(self._givens)))
            givens = [self._givens[place] for place in places]
            drawings = [self._givens[way.drawn(place)].drawing for place in places] if way.drawn else []
            seeds = [seed_of(config.seed, given.key) for given in givens]
            some = [self._name(*of) for of in zip(givens, seeds, drawings or [None] * len(givens), strict=True)]
            if not all(map(album.has, some)):
                pictures = self._paint(givens, seeds, drawings)
                for name, picture in zip(some, pictures, strict=True):
                    album.write(name, picture)
            names += some
            self._done += len(some)
            self._said(self._done, 3 * len(self._givens))
        return lambda: map(album.read, names)

    def _name(self, given: Given, seed: int, drawing: np.ndarray | None) -> str:
        """With a digest of what is this picture's own; the album's covers what all have in common."""
        own = f"{given.caption}\n{seed}\n{'' if drawing is None else digest_array(drawing)}"
        return f"{given.key}-{digest_array(np.frombuffer(own.encode(), np.uint8))[:8]}"

    def _paint(self, givens: list[Given], seeds: list[int], drawings: list[np.ndarray]) -> np.ndarray:
        channels, condition = self._adapter.layout.in_channels, self._config.condition
        parts = []
        if drawings:
            stacked = torch.cat([to_drawing(drawing, channels, condition) for drawing in drawings])
            parts.append(Part(self._adapter, stacked, name=f"--adapter {self._config.adapter}"))
        return generate(
            self._base,
            parts,
            [given.caption for given in givens],
            seeds,
            (self._givens.size, self._givens.size),
            self._config.sampling,
            batch=self._config.batch,
        )
