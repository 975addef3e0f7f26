"""What an extractor refuses, each in one line: missing weights, wrong weights, a missing GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.extractors.batch import DeviceUnavailable
from t2i_shards.extractors.registry import make_extractor, weight_files
from t2i_shards.extractors.weights import resolve as weights
from t2i_shards.extractors.weights.file import WeightFile, WeightsDamaged, WeightsUnavailable
from t2i_shards.jobs.extract import ExtractCommand, choose_worker_device
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages import plan_extract
from tests.contract.conftest import REGISTERED, no_network
from tests.faults.toys import Pictures, make_images

WEIGHTED = [(c, v) for c, v in REGISTERED if any(not file.shipped for file in weight_files(c, v))]
"""Those whose weights the user has to bring."""
KNOWN = [(c, v) for c, v in WEIGHTED if all(file.hub or file.url for file in weight_files(c, v))]
"""Those whose weights somebody has published; in other cases any are taken."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one, and no network."""
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "fetch_from_hub", no_network)
    monkeypatch.setattr(weights, "fetch_from_url", no_network)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(2), 2)


def refusal(dataset: Dataset, condition: str, variant: str, folder: Path | None) -> str:
    """The one line with which the request is refused, before a column is begun."""
    with pytest.raises(RequestError) as caught:
        plan_extract(dataset, [condition], variant=variant, weights=folder)
    line = str(caught.value)
    assert "\n" not in line
    assert dataset.columns() == [IMAGES]
    return line


def first_file(condition: str, variant: str) -> WeightFile:
    return next(file for file in weight_files(condition, variant) if not file.shipped)


@pytest.mark.parametrize(("condition", "variant"), WEIGHTED)
def test_weights_that_are_nowhere(condition: str, variant: str, dataset: Dataset, tmp_path: Path) -> None:
    line = refusal(dataset, condition, variant, tmp_path)
    file = first_file(condition, variant)
    assert all(part in line for part in (file.filename, str(tmp_path), "pass --weights DIR that holds it"))
    with pytest.raises(WeightsUnavailable):
        make_extractor(condition, variant, tmp_path).load("cpu")


@pytest.mark.parametrize(("condition", "variant"), KNOWN)
def test_weights_with_other_bytes(condition: str, variant: str, dataset: Dataset, tmp_path: Path) -> None:
    file = first_file(condition, variant)
    path = tmp_path / file.name / file.filename
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 1000)
    line = refusal(dataset, condition, variant, tmp_path)
    assert line.startswith(f"{path}: sha256 must ")
    assert line.endswith("it was not loaded")
    with pytest.raises(WeightsDamaged):
        make_extractor(condition, variant, tmp_path).load("cpu")


@pytest.mark.parametrize(("condition", "variant"), REGISTERED)
def test_no_gpu_where_one_is_asked_for(condition: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any weights are looked for; what needs no device takes none."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    extractor = make_extractor(condition, variant)
    if extractor.resources.gpus:
        with pytest.raises(DeviceUnavailable, match=r"^device cuda needs a GPU[^\n]*$"):
            extractor.load("cuda")
    else:
        extractor.load("cuda")


def test_the_command_refuses_a_gpu_that_is_not_there_and_a_device_that_is_none(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from t2i_shards.jobs.command import EngineOptions

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    local = EngineOptions(engine="local", workers=1)
    assert choose_worker_device("auto", local) == "cpu"
    for device, said in (
        ("cuda", "--device cuda needs a GPU"),
        ("tpu", "must be one of auto, cpu, cuda, not 'tpu'"),
    ):
        command = ExtractCommand(str(dataset.store.root), ("color",), device=device, engine=local)
        with pytest.raises(RequestError, match=said) as caught:
            command.run()
        assert "\n" not in str(caught.value)
    assert dataset.columns() == [IMAGES]
