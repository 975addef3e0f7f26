"""One pass over a shard: shared pictures, work on several threads that changes no byte."""

from __future__ import annotations

import threading
import time
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
from t2i_shards.pipeline.errors import BrokenStage, RequestError
from t2i_shards.pipeline.image.stored import Picture, decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages import plan_extract
from tests.faults.toys import Pictures, Toy, make_images
from tests.pipeline.stages.toys import COUNT, SHARD, Other, Unencodable, extract


@pytest.fixture(autouse=True)
def registered(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "tests.pipeline.stages.toys:Other"
    monkeypatch.setitem(EXTRACTORS, "other", {"default": other, "raises": other})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(COUNT, cursed=(4, 17)), SHARD)


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
        del caught  # whose frames hold the stage's threads


def test_a_success_resets_the_count_of_failures(tmp_path: Path) -> None:
    cursed = tuple(i for i in range(150) if i != 75)
    dataset = make_images(tmp_path / "white", Pictures(150, cursed=cursed), 150)
    stage = plan_extract(dataset, ["other"])
    stage.setup()
    assert stage(0).receipts["other"].samples == 1


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
