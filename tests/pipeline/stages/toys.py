"""Extractors that fail on some pictures or run out of memory, and a pass over all shards in this process."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import numpy as np
import torch

from t2i_shards.extractors.batch import Batch
from t2i_shards.extractors.maps.formats import Grey
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.stages import Extract, plan_extract
from tests.faults.toys import Toy

COUNT, SHARD = 22, 11


class Held:
    """What a network takes of the memory: it holds itself, as graphs of a network may."""

    def __init__(self) -> None:
        self.itself = self


class Hungry(Toy):
    """Has memory for `most` pictures at once, and notes how many it was given, and whether it was let go of."""

    condition = "hungry"
    format = Grey("hungry.png", "grey", channels=1)
    most = 3
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    given: list[int]
    limits: list[int | None]
    held: list[weakref.ref[Held]]
    let_go = True

    def __call__(self, given: np.ndarray | Batch) -> list[np.ndarray]:
        Hungry.given.append(len(given))
        Hungry.limits.append(given.limit if isinstance(given, Batch) else None)
        Hungry.let_go &= all(held() is None for held in Hungry.held)
        if len(given) > self.most:
            held = Held()
            Hungry.held.append(weakref.ref(held))
            raise copy.copy(self.error)
        return super().__call__(given)


class Unencodable(Grey):
    """Fails on pictures that the map says are cursed."""

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        if condition_map.min() >= 250:
            raise OverflowError("cannot be encoded")
        return super().encode(condition_map)


class Other(Toy):
    """The red channel, by a format that fails on cursed pictures."""

    condition = "other"
    format = Unencodable("other.png", "grey", channels=1)

    def __call__(self, given: np.ndarray | Batch) -> list[np.ndarray]:
        assert isinstance(given, Batch)
        return [picture[:, :, 0].copy() for picture in given.pictures]


def extract(dataset: Dataset, names: list[str], ahead: int = 2, **options: Any) -> Extract:
    stage = plan_extract(dataset, names, **options)
    stage.ahead = ahead
    stage.setup()
    for shard in dataset.shards:
        stage(shard)
    return stage
