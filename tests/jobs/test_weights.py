"""weights list, fetch and convert."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.latents import SD15
from t2i_shards.extractors.registry import EXTRACTORS, make_extractor
from t2i_shards.extractors.sketch import TABLE5
from t2i_shards.extractors.weights import resolve as weights
from t2i_shards.extractors.weights.file import WeightFile
from t2i_shards.extractors.weights.resolve import find
from t2i_shards.jobs.command import Command, execute
from t2i_shards.jobs.weights import WeightsConvert, WeightsFetch, WeightsList, fetch


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the network was asked for; the cache is empty, and the network of these tests cannot be reached."""
    asked: list[str] = []

    def unreachable(weight: WeightFile, scratch: Path | None = None) -> Path:
        asked.append(weight.filename)
        raise ConnectionError("Name or service not known")

    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "fetch_from_hub", unreachable)
    monkeypatch.setattr(weights, "fetch_from_url", unreachable)
    return asked


@pytest.fixture
def table5(assets: Path) -> Path:
    return assets / "weights" / "pidinet" / TABLE5.filename


def run(command: Command, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = execute(command)
    said = capsys.readouterr()
    return code, said.out, said.err


def listed(capsys: pytest.CaptureFixture[str], folder: Path | None = None) -> dict[tuple[str, str, str], Any]:
    code, out, _ = run(WeightsList(weights=folder, json=True), capsys)
    assert code == 0
    return {(row["condition"], row["variant"], row["file"]): row for row in json.loads(out)["files"]}


def test_list_names_every_file_and_where_it_comes_from(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = listed(capsys)
    made = {(condition, variant) for condition, variants in EXTRACTORS.items() for variant in variants}
    needed = {key for key in made if key[0] not in ("color", "canny")} - {("latents", "mini")}
    assert {key[:2] for key in rows} == needed
    assert all(row["licence"] and row["from"] for row in rows.values())
    sketch = rows["sketch", "default", TABLE5.filename]
    assert (sketch["sha256"], sketch["bytes"], sketch["revision"]) == (
        TABLE5.sha256,
        TABLE5.bytes,
        TABLE5.revision,
    )
    assert sketch["where"] is None
    assert asked == []
    assert not (tmp_path / "cache").exists()
    _, out, _ = run(WeightsList(), capsys)
    assert all(key[2] in out for key in rows)
    assert out.splitlines()[-1].startswith(f"weights: {len(rows)} entries")


def test_list_says_where_a_file_lies_and_whether_it_is_damaged(
    table5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = listed(capsys, table5.parent)
    assert rows["sketch", "default", TABLE5.filename]["where"] == str(table5)
    (tmp_path / TABLE5.filename).write_bytes(table5.read_bytes()[:-1])
    code, out, err = run(WeightsList(weights=tmp_path), capsys)
    assert code == 3
    assert "DAMAGED" in out
    assert "sha256 must be" in err


def test_fetch_puts_verified_files_into_a_folder_that_weights_takes(
    table5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    downloads: list[str] = []

    def download(weight: WeightFile) -> Path:
        downloads.append(weight.filename)
        return table5

    monkeypatch.setattr(weights, "fetch_from_hub", download)
    for _ in range(2):
        code, out, _ = run(WeightsFetch(conditions=("sketch", "color"), to=tmp_path / "to", json=True), capsys)
        assert code == 0
        assert json.loads(out)["files"] == [str(tmp_path / "to" / "pidinet" / TABLE5.filename)]
    assert downloads == [TABLE5.filename]
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "another machine"))
    assert make_extractor("sketch", weights=tmp_path / "to").recipe()["weights"]["sha256"] == TABLE5.sha256


def test_a_fetched_file_in_a_folder_of_its_repository_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").write_bytes(b"a VAE")
    monkeypatch.setattr(weights, "fetch_from_hub", lambda weight: tmp_path / "hub")
    monkeypatch.setitem(vars(SD15), "sha256", sha256_of(tmp_path / "hub"))
    fetched = fetch(SD15, tmp_path / "to")
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "another machine"))
    assert find(SD15, tmp_path / "to") == fetched


def test_fetch_continues_after_an_unavailable_file_and_ends_with_3(
    table5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / TABLE5.filename).write_bytes(table5.read_bytes())
    code, out, err = run(WeightsFetch(conditions=("depth", "sketch"), to=tmp_path), capsys)
    assert code == 3
    assert str(tmp_path / TABLE5.filename) in out
    assert "dpt_hybrid-midas-501f0c75.pt" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("asked_for", "rule"),
    [
        (WeightsFetch(("depht",)), "no condition is called 'depht'; there are sketch, depth"),
        (WeightsFetch(("sketch",), variant="huge"), "sketch has no variant 'huge'; there are default, mini"),
    ],
)
def test_fetch_of_what_is_not_registered_is_one_line_and_2(
    asked_for: WeightsFetch, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(asked_for, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert rule in err


def test_a_converted_checkpoint_takes_the_originals_place_on_this_machine(
    table5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = make_extractor("sketch", weights=table5.parent)
    out = tmp_path / "pidinet" / "table5_pidinet.safetensors"
    code, said, _ = run(WeightsConvert(table5, out, json=True), capsys)
    assert code == 0
    assert json.loads(said)["known"] is True
    assert json.loads(said)["source_sha256"] == TABLE5.sha256
    converted = make_extractor("sketch", weights=tmp_path)
    assert converted.recipe() == original.recipe()
    picture = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)
    maps = []
    for extractor in (original, converted):
        extractor.load("cpu")
        maps.append(extractor(picture)[0])
    assert np.array_equal(*maps)
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "another machine"))
    with pytest.raises(weights.WeightsDamaged, match="no record"):
        converted.recipe()


def test_known_weights_of_another_digest_are_refused_before_they_are_deserialised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"state_dict": Trap()}, tmp_path / TABLE5.filename)
    opened: list[object] = []
    read = torch.load

    def watched(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return read(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watched)
    code, out, err = run(WeightsConvert(tmp_path / TABLE5.filename), capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "was not loaded" in err
    with pytest.raises(weights.WeightsDamaged):
        make_extractor("sketch", weights=tmp_path).load("cpu")
    assert opened == []
    assert os.listdir(tmp_path) == [TABLE5.filename]


def test_convert_refuses_code_and_what_is_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": Trap()}, tmp_path / "code.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "net.pth")
    assert run(WeightsConvert(tmp_path / "net.pth"), capsys)[0] == 0
    before = sorted(os.listdir(tmp_path))
    for file, rule in {
        "code.pth": "must hold nothing but tensors",
        "net.pth": "--out must name a new .safetensors file",
        "none.pth": "there is no file",
        "net.safetensors": "is a safetensors file already",
    }.items():
        code, out, err = run(WeightsConvert(tmp_path / file), capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert rule in err
    assert sorted(os.listdir(tmp_path)) == before
