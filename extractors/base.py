"""What a condition is made of: an extractor (pictures -> maps) and a format (how a map is stored and shown).

Everything here works on its own at inference time: nothing in this package knows of shards, Ray or training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from extractors.batch import Batch

Map: TypeAlias = Any
"""One picture's map in memory: np.ndarray (see each format for shape and dtype), or `People` for keypose."""


@dataclass(frozen=True)
class Resources:
    """What one worker that holds this extractor needs.

    cpus: cores, and threads that the network may use. gpus: share of a GPU, for workers that are given one; a
    worker without a GPU runs on its cpus. memory: bytes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0


class Format(Protocol):
    """How one condition's map is stored (members of a sample) and what the adapter sees of it.

    Attributes:
        members: names of the sample's members, e.g. ("sketch.png",) or ("keypose.json", "keypose.png").
        channels: channels of the drawing: 1 for sketch, 3 for the rest.
        is_condition: whether an adapter can be trained to obey it; False for what only saves training work.
    """

    @property
    def members(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> int: ...

    @property
    def is_condition(self) -> bool: ...

    def encode(self, map: Map) -> dict[str, bytes]:
        """Member name -> bytes, the same bytes for the same map on every run."""
        ...

    def decode(self, members: Mapping[str, bytes]) -> Map:
        """The map that `encode` was given, exactly; other members of the sample may be present."""
        ...

    def mirror(self, map: Map) -> Map:
        """The map of the picture mirrored left to right; what is left of a person is then right."""
        ...

    def draw(self, map: Map, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, channels): what the adapter sees, before /255 and any threshold.

        `height` and `width` are the picture's; only the colour map, stored small, is brought to that size,
        the others are of that size already (`check_size` says so otherwise).
        """
        ...


class Extractor(Protocol):
    """One way to make one condition. Cheap to construct; the network is built by `load`, once per worker."""

    @property
    def condition(self) -> str: ...

    @property
    def format(self) -> Format: ...

    @property
    def resources(self) -> Resources: ...

    def recipe(self) -> dict[str, Any]:
        """What decides every byte of the column, JSON-able: extractor, version, variant, weights, parameters.

        Raises WeightsUnavailable or WeightsDamaged; loads no model.
        """
        ...

    def load(self, device: str) -> None:
        """Get ready on `device` ("cpu", "cuda"). Whatever needs the network happens here or in `recipe`.

        Raises WeightsUnavailable, WeightsDamaged or DeviceUnavailable. Networks are attributes of the extractor:
        `extractors.networks.compiled` looks for them there.
        """
        ...

    def __call__(self, pictures: np.ndarray | Batch) -> list[Map]:
        """(N, H, W, 3) uint8 RGB -> N maps, each bit for bit what the picture alone would have given.

        Several extractors may be called with one Batch; its pictures are not to be changed.
        """
        ...


def check_size(map_size: tuple[int, ...], height: int, width: int) -> None:
    """Raises ValueError unless the map has the picture's size; maps are never resized to fit."""
    if map_size != (height, width):
        raise ValueError(
            f"a map is drawn at its picture's size: the map is {map_size}, asked for {(height, width)}"
        )
