"""One pass over a shard: shared pictures, work side by side that changes no byte, and memory that runs out."""

from __future__ import annotations

import copy
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import t2i_shards.pipeline.stages.extract
from t2i_shards.extractors.batch import Batch, DeviceUnavailable
from t2i_shards.extractors.maps.formats import Grey
from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.extractors.weights.file import WeightsDamaged
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import BrokenStage, IncompleteError, RequestError
from t2i_shards.pipeline.image.stored import Picture, decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages import Extract, plan_extract
from tests.faults.toys import Pictures, Toy, make_images

COUNT, SHARD = 22, 11


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


@pytest.fixture(autouse=True)
def registered(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "other", {"default": f"{__name__}:Other", "raises": f"{__name__}:Other"})
    monkeypatch.setitem(EXTRACTORS, "hungry", {"default": f"{__name__}:Hungry"})
    Hungry.given, Hungry.limits, Hungry.held, Hungry.let_go = [], [], [], True


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(COUNT, cursed=(4, 17)), SHARD)


def extract(dataset: Dataset, names: list[str], ahead: int = 2, **options: Any) -> Extract:
    stage = plan_extract(dataset, names, **options)
    stage.ahead = ahead
    stage.setup()
    for shard in dataset.shards:
        stage(shard)
    return stage


def column(dataset: Dataset, name: str) -> list[tuple[str, dict[str, bytes]]]:
    return [
        (sample.key, {name: bytes(data) for name, data in sample.members.items()})
        for shard in dataset.shards
        for sample in dataset.load(name, shard)
    ]


def test_concurrent_and_sequential_extraction_give_the_same(dataset: Dataset, tmp_path: Path) -> None:
    """Bytes, drops, errors and their order; with a picture that no decoder, no extractor, no encoder takes."""
    there = make_images(tmp_path / "again", Pictures(COUNT, cursed=(4, 17)), SHARD)
    made = []
    for data, ahead, batch in ((dataset, 0, 1), (there, 2, 3)):
        stage = plan_extract(data, ["toy", "other"], variant="raises", batch=batch)
        stage.ahead = ahead
        stage.setup()
        made.append([stage(shard) for shard in data.shards])
    for alone, beside in zip(*made, strict=True):
        assert sorted(alone.errors) == sorted(beside.errors)
        for name, receipt in alone.receipts.items():
            assert beside.receipts[name].sha256 == receipt.sha256
            assert beside.receipts[name].dropped == receipt.dropped
    assert made[0][0].receipts["toy"].dropped == {"k00004": "failed (ValueError)"}
    assert made[0][0].receipts["other"].dropped == {"k00004": "failed (OverflowError)"}


def test_each_picture_is_decoded_once_and_uploaded_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    uploaded: list[np.ndarray] = []
    given: list[tuple[str, torch.Tensor]] = []
    real = torch.from_numpy

    def decode(data: bytes) -> Picture:
        decoded.append(bytes(data))
        return decode_rgb(data)

    def upload(pictures: np.ndarray) -> torch.Tensor:
        uploaded.append(pictures)
        return real(pictures)

    def look(toy: Toy, batch: Batch) -> list[np.ndarray]:
        given.append((toy.condition, batch.on(torch.device("cpu"))))
        return [picture[:, :, 0].copy() for picture in batch.pictures]

    monkeypatch.setattr(t2i_shards.pipeline.stages.extract, "decode_rgb", decode)
    monkeypatch.setattr(torch, "from_numpy", upload)
    monkeypatch.setattr(Toy, "__call__", look)
    monkeypatch.setattr(Other, "__call__", look)
    extract(dataset, ["toy", "other"], batch=4)
    assert len(decoded) == COUNT
    assert sum(map(len, uploaded)) == COUNT
    places = [{t.data_ptr() for name, t in given if name == condition} for condition in ("toy", "other")]
    assert places[0] == places[1]
    assert len(places[0]) == len(given) / 2 == len(uploaded)


def test_the_queues_before_and_behind_the_networks_are_bounded(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first picture is looked at, and while the first map is encoded, three are begun: not the shard."""
    decoded: list[bytes] = []
    looked: list[int] = []
    encoded: list[int] = []

    def decode(data: bytes) -> Picture:
        decoded.append(data)
        return decode_rgb(data)

    def look(toy: Toy, batch: Batch) -> list[np.ndarray]:
        if not looked:
            time.sleep(0.2)  # it could run on here
        looked.append(len(decoded))
        return [picture[:, :, 0].copy() for picture in batch.pictures]

    def encode(form: Grey, condition_map: np.ndarray) -> dict[str, bytes]:
        if not encoded:
            time.sleep(0.2)
        encoded.append(len(looked))
        return {form.member: b"map"}

    monkeypatch.setattr(t2i_shards.pipeline.stages.extract, "decode_rgb", decode)
    monkeypatch.setattr(Other, "__call__", look)
    monkeypatch.setattr(Unencodable, "encode", encode)
    extract(dataset, ["other"], ahead=2, batch=1)
    assert looked[0] <= 3
    assert encoded[0] <= 3


def test_a_finished_column_is_not_made_again_with_a_missing_one(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(dataset, ["toy"])
    made: list[str] = []
    monkeypatch.setattr(Toy, "__call__", lambda toy, given: made.append(toy.condition))
    extract(dataset, ["toy", "other"])
    assert made == []
    assert dataset.done("other") == set(dataset.shards)


def test_a_picture_that_cannot_be_decoded_leaves_its_neighbours(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dataset.load

    def damaged(name: str, shard: int, *rest: Any) -> list[Sample]:
        samples = list(real(name, shard, *rest))
        return [Sample(s.key, {"jpg": b"no"}) if s.key == "k00003" else s for s in samples]

    monkeypatch.setattr(Dataset, "load", lambda self, *args: damaged(*args))
    stage = plan_extract(dataset, ["toy", "other"])
    stage.setup()
    made = stage(0)
    assert made.errors[0] == "toy: k00003: ValueError: not a JPEG"
    assert made.receipts["toy"].dropped == {"k00003": "failed (ValueError)"}
    assert made.receipts["other"].dropped["k00003"] == "failed (ValueError)"
    assert made.receipts["toy"].samples == SHARD - 1


def test_failures_in_a_row_are_counted_on_all_threads_together(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "white", Pictures(120, cursed=tuple(range(120))), 120)
    for ahead in (0, 2):
        stage = plan_extract(dataset, ["other"])
        stage.ahead = ahead
        stage.setup()
        with pytest.raises(BrokenStage, match=r"100 samples failed in a row.*OverflowError: cannot") as caught:
            stage(0)
        assert [
            thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "behind"))
        ] == []
        del caught  # whose frames would have held what goes on beside the stage


def test_a_success_resets_the_count_of_failures(tmp_path: Path) -> None:
    cursed = tuple(i for i in range(150) if i != 75)
    dataset = make_images(tmp_path / "white", Pictures(150, cursed=cursed), 150)
    stage = plan_extract(dataset, ["other"])
    stage.setup()
    assert stage(0).receipts["other"].samples == 1


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
    # 8 pictures, 4, 2; it stays at that and is told once each time.
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
    """It waits in the queue to the encoders, and what its frames held would wait with it."""
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


@pytest.mark.parametrize("error", [DeviceUnavailable("no GPU here"), WeightsDamaged("other bytes")])
def test_a_worker_that_cannot_load_says_which_column_and_ends_the_run(
    error: Exception, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(toy: Toy, device: str) -> None:
        raise error

    monkeypatch.setattr(Toy, "load", load)
    stage = plan_extract(dataset, ["toy"])
    with pytest.raises(RequestError, match=f"^toy: {error}$"):
        stage.setup()


def test_an_unknown_device_is_refused_before_a_column_is_begun(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match=r"^--device must be one of cpu, cuda, not 'tpu'$"):
        plan_extract(dataset, ["toy"], device="tpu")
    assert dataset.columns() == [IMAGES]


def test_compiled_networks_make_another_column(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "recipe", lambda toy: {"extractor": "toy", "weights": {"file": "toy"}})
    asked: list[object] = []
    monkeypatch.setattr("t2i_shards.pipeline.stages.extract.compile_networks", asked.append)
    plain, compiled = plan_extract(dataset, ["toy"]), None
    with pytest.raises(RequestError, match=r"--as$"):
        plan_extract(dataset, ["toy"], compiled=True)
    compiled = plan_extract(dataset, ["toy"], compiled=True, column="fast")
    plain.setup()
    assert asked == []
    compiled.setup()
    assert asked == [compiled.extractors["fast"]]
