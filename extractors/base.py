"""What makes a condition: an extractor, which turns pictures into maps of one format.

Everything here works on its own at inference time: nothing in this package knows of shards, Ray or training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from t2i_shards.extractors.format import Format, Map

if TYPE_CHECKING:
    from t2i_shards.extractors.batch import Batch


@dataclass(frozen=True)
class Resources:
    """What one worker that holds this extractor needs.

    cpus: cores, and threads that the network may use. gpus: share of a GPU, for workers that are given one; a
    worker without a GPU runs on its cpus. memory: bytes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0

    def for_shipped(self) -> Resources:
        """Those of the small network that ships, where these are of a published one: a worker with sketch, depth,
        keypose, seg and color of pictures of 512x768 took 1.14 GB in all, half of it the libraries."""
        return replace(self, memory=min(self.memory, 1 << 28))


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
        `compile_networks` looks for them there.
        """
        ...

    def __call__(self, pictures: np.ndarray | Batch) -> list[Map]:
        """(N, H, W, 3) uint8 RGB -> N maps, each bit for bit what the picture alone would have given.

        Several extractors may be called with one Batch; its pictures are not to be changed.
        """
        ...


def compile_networks(extractor: Extractor) -> list[str]:
    """Compile, in place, every network that is an attribute of the loaded extractor. Their names.

    The first call for each size takes about a minute; later ones are faster. Results are rounded differently.
    """
    from torch import nn

    found = {name: value for name, value in vars(extractor).items() if isinstance(value, nn.Module)}
    for network in found.values():
        network.compile(dynamic=False)
    return list(found)


def compiled_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of the same extractor with its networks compiled; one without weights has none."""
    return {**recipe, "compiled": True} if recipe.get("weights") else dict(recipe)
