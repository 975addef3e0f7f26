"""An extractor that runs out of memory: batches are halved, nothing is held, nothing dropped."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i_shards.extractors.batch import Batch
from t2i_shards.extractors.registry import EXTRACTORS, make_extractor
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.plan_extract import combine
from tests.faults.toys import Pictures, make_images
from tests.pipeline.stages.toys import COUNT, SHARD, Hungry, extract


@pytest.fixture(autouse=True)
def registered(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "hungry", {"default": "tests.pipeline.stages.toys:Hungry"})
    Hungry.given, Hungry.limits, Hungry.held, Hungry.let_go = [], [], [], True


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(COUNT, cursed=(4, 17)), SHARD)


def column(dataset: Dataset, name: str) -> list[tuple[str, dict[str, bytes]]]:
    return [
        (sample.key, {name: bytes(data) for name, data in sample.members.items()})
        for shard in dataset.shards
        for sample in dataset.load(name, shard)
    ]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "python"],
)
def test_out_of_memory_halves_the_batch_and_gives_the_same(
    error: Exception, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Hungry, "error", error)
    with caplog.at_level(logging.WARNING):
        stage = extract(dataset, ["hungry", "toy"], batch=8)
    hungry, toy = column(dataset, "hungry"), column(dataset, "toy")
    assert [(key, members["hungry.png"]) for key, members in hungry] == [
        (key, members["toy.png"]) for key, members in toy
    ]
    assert len(hungry) == COUNT
    assert Hungry.let_go
    # 8 pictures, 4, 2; it stays at that, and each change is logged once.
    assert stage.limits == {"hungry": 2, "toy": None}
    assert set(Hungry.limits) == {None, 4, 2}  # which a network on a GPU keeps to as well
    too_many = [count for count in Hungry.given if count > Hungry.most]
    assert len(too_many) == 2
    assert all(count <= 2 for count in Hungry.given[Hungry.given.index(too_many[-1]) + 1 :])
    assert [record.message for record in caplog.records] == [
        "hungry: out of memory, from now on at most 4 at once",
        "hungry: out of memory, from now on at most 2 at once",
    ]


def test_an_error_does_not_hold_the_pictures(dataset: Dataset) -> None:
    """It waits in the queue to the encoders, and would keep alive what its frames hold."""
    stage = plan_extract(dataset, ["toy"], variant="raises")
    stage.setup()
    batch = Batch(np.full((1, 64, 64, 3), 255, np.uint8))
    there = weakref.ref(batch)
    (error,) = stage._maps("toy", batch, 1)
    del batch
    assert isinstance(error, ValueError)
    assert there() is None


def test_out_of_memory_with_a_single_picture_is_an_error_and_drops_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "most", 0)
    stage = plan_extract(dataset, ["hungry"])
    stage.setup()
    with pytest.raises(
        IncompleteError,
        match=r"^hungry: out of memory on cpu with a single picture of \d+x64: OutOfMemoryError: CUDA [^\n]*$",
    ):
        stage(0)
    assert dataset.done("hungry") == set()


def test_the_networks_that_ship_ask_for_what_a_small_machine_has() -> None:
    names = ("sketch", "depth", "keypose", "seg", "color")
    shipped, published = (
        combine([make_extractor(name, variant, None).resources for name in names], "cpu")
        for variant in ("mini", "default")
    )
    assert shipped.memory < 3 << 29
    assert published.memory > 7 << 30
