"""--from: a training that begins from an adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.convert import open_adapter, read_adapter, write_tencentarc
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, save_adapter
from t2i_shards.adapters.run_folder import START
from t2i_shards.adapters.training.card import CARD
from t2i_shards.adapters.training.start import make_start, name_start
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import LogLine
from tests.adapters.toys import toy_config, toy_stream


@pytest.fixture(scope="module")
def trained(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    Training(toy_config(out, steps=2), toy_stream(), tiny).run()
    return out


def test_every_form_of_an_adapter_is_the_same_start(tiny: Base, trained: Path, tmp_path: Path) -> None:
    found = open_adapter(trained)
    files = [tmp_path / "theirs.safetensors", tmp_path / "theirs.pth"]
    for file in files:
        write_tencentarc(found.config, found.tensors, file)
    expected = read_adapter(trained / "adapter").state_dict()
    for start in (trained, trained / "adapter", trained / "adapter" / WEIGHTS, *files):
        begun = make_start(toy_config(tmp_path, start=str(start)), tiny).state_dict()
        assert all(torch.equal(begun[name], tensor) for name, tensor in expected.items())


def stop_at(step: int) -> Callable[[LogLine], None]:
    def stop(line: LogLine) -> None:
        if line.step == step:
            raise KeyboardInterrupt

    return stop


def test_it_begins_where_the_other_ended_and_resumes_to_the_same_bits(
    tiny: Base, trained: Path, tmp_path: Path
) -> None:
    config = toy_config(tmp_path / "straight", start=str(trained), steps=4)
    summary = Training(config, toy_stream(), tiny).run()
    before = json.loads((trained / "summary.json").read_text())
    assert summary.first_validation == before["last_validation"] != before["first_validation"]

    again = replace(config, out=tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        Training(again, toy_stream(), tiny).run(stop_at(3))
    assert Training(again, toy_stream(), tiny).run().new_steps == 2
    assert (again.out / "adapter" / WEIGHTS).read_bytes() == (config.out / "adapter" / WEIGHTS).read_bytes()
    with pytest.raises(RequestError, match="was begun without --from: leave it out, or"):
        Training(toy_config(trained, start=str(trained), steps=4), toy_stream(), tiny)
    with pytest.raises(RequestError, match="there is no adapter"):
        Training(toy_config(trained, start=str(tmp_path / "nowhere"), steps=4), toy_stream(), tiny)


def test_a_run_that_has_begun_needs_its_start_no_more(
    tiny: Base, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "adapter", "runs/start")
    config = toy_config(tmp_path / "straight", start="runs/start", steps=2)
    summary = Training(config, toy_stream(), tiny).run()
    again = replace(config, out=tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        Training(again, toy_stream(), tiny).run(stop_at(1))
    shutil.rmtree("runs")
    placed = replace(again, start=name_start(again))
    monkeypatch.chdir("/")
    for asked in (placed, replace(again, start=str(tmp_path / "runs/start"))):
        resumed = Training(asked, toy_stream(), tiny).run()
        assert resumed.first_validation == summary.first_validation
    assert (again.out / "adapter" / WEIGHTS).read_bytes() == (config.out / "adapter" / WEIGHTS).read_bytes()
    assert "began from, start |" in (again.out / "adapter" / CARD).read_text()
    with pytest.raises(RequestError, match="there is no adapter /nowhere"):
        Training(replace(again, start="/nowhere"), toy_stream(), tiny)


def test_the_same_adapter_elsewhere_continues_a_run_and_a_name_that_now_holds_another_changes_nothing(
    tiny: Base, trained: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(trained / "adapter", source)
    config = toy_config(tmp_path / "run", start=str(source), steps=2)
    training = Training(config, toy_stream(), tiny)
    begun = training.start_digest
    with pytest.raises(KeyboardInterrupt):
        training.run(stop_at(1))
    shutil.rmtree(source)
    source.mkdir()
    save_adapter(make_start(toy_config(tmp_path / "other", seed=9), tiny), source)
    assert Training(config, toy_stream(), tiny).start_digest == begun
    assert Training(replace(config, start=str(trained)), toy_stream(), tiny).start_digest == begun
    with pytest.raises(RequestError, match="with another adapter than --from names: leave --from out, or"):
        Training(replace(config, start=str(source / WEIGHTS)), toy_stream(), tiny)
    shutil.rmtree(config.out / START)  # a run of an older version
    with pytest.raises(RequestError, match="with another adapter than --from names: name that one, or"):
        Training(config, toy_stream(), tiny)
    with pytest.raises(
        RequestError, match=r"with --from, and its own copy, .*start, is missing: give --from again"
    ):
        Training(replace(config, start=None), toy_stream(), tiny)
    assert Training(replace(config, start=str(trained)), toy_stream(), tiny).run().new_steps == 2
    assert (config.out / START / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"adapter": "small"}, "must be of the size small, with 1 channels in .*, and it is of the size tiny"),
        ({"condition": "color"}, "must be of the size tiny, with 3 channels in"),
    ],
)
def test_another_kind_of_adapter_is_refused(
    change: dict[str, Any], line: str, tiny: Base, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=line):
        make_start(toy_config(tmp_path, start=str(trained), **change), tiny)


def test_a_start_that_is_not_there_is_refused_before_a_run_is_begun(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no adapter"):
        Training(toy_config(tmp_path / "run", start=str(tmp_path / "nowhere")), toy_stream(), tiny)
    assert not (tmp_path / "run").exists()


def test_a_damaged_start_has_a_way_out(tiny: Base, trained: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", start=str(trained), steps=2)
    Training(config, toy_stream(), tiny).run()
    for name in ("start.json", WEIGHTS):
        file = tmp_path / "run" / START / name
        whole = file.read_bytes()
        file.write_bytes(b"")
        with pytest.raises(RequestError, match="put it back as it was, or delete it and name that adapter with"):
            make_start(config, tiny)
        file.write_bytes(whole)
    make_start(config, tiny)


def test_a_run_continues_from_its_own_copy_when_nothing_is_said(tiny: Base, trained: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", start=str(trained), steps=3)
    with pytest.raises(KeyboardInterrupt):
        Training(config, toy_stream(), tiny).run(stop_at(2))
    training = Training(replace(config, start=None), toy_stream(), tiny)
    assert training.config == config
    assert training.run().new_steps == 1
    assert f'from = "{trained}"' in (config.out / "config.toml").read_text()


def test_another_adapter_in_place_of_the_copy_is_named_as_that(tiny: Base, trained: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", start=str(trained), steps=2)
    Training(config, toy_stream(), tiny).run()
    file = config.out / START / WEIGHTS
    swapped = bytearray(file.read_bytes())
    swapped[8 + int.from_bytes(swapped[:8], "little")] ^= 1  # the first byte of the first tensor
    file.write_bytes(swapped)
    for asked in (config, replace(config, start=None)):
        with pytest.raises(
            RequestError, match=r"start holds other weights than when the run began; .* put it back"
        ):
            Training(asked, toy_stream(), tiny)


def test_a_folder_that_is_gone_is_no_hub_id(
    tiny: Base, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "adapter", "runs/old")
    config = toy_config(tmp_path / "run", start="runs/old", steps=2)
    with pytest.raises(KeyboardInterrupt):
        Training(config, toy_stream(), tiny).run(stop_at(2))
    shutil.rmtree("runs")
    shutil.rmtree(config.out / START)
    asked: list[str] = []
    monkeypatch.setattr("t2i_shards.adapters.model.convert.fetch_adapter", lambda name, _: asked.append(name))
    with pytest.raises(RequestError, match=r"start, the run's copy .* is missing, and there is no file or folder"):
        Training(config, toy_stream(), tiny)
    assert not asked
