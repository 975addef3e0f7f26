"""Adapters on the Hub, which is a stand-in on loopback."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.inference.config import parse_adapter
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.convert import FILES, read_adapter, write_tencentarc
from t2i_shards.adapters.model.diffusers_io import CONFIG, WEIGHTS, save_adapter
from t2i_shards.adapters.training.start import make_start
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.toys import toy_config
from tests.pipeline.publish.hub_server import Hub


@pytest.fixture
def adapter() -> Adapter:
    return make_adapter(adapter_config_for("tiny", 1, (32, 32, 32, 64)), 3)


@pytest.fixture
def repository(hub: Hub, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """user/name with the adapter in diffusers' layout and, further down, in TencentARC's; an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "kept").mkdir()
    save_adapter(adapter, tmp_path / "kept")
    write_tencentarc(adapter.config, adapter.state_dict(), tmp_path / "theirs.pth")
    files = {name: (tmp_path / "kept" / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    hub.create()
    hub.edit({**files, "models/theirs.pth": (tmp_path / "theirs.pth").read_bytes()})
    return hub


def same(found: Adapter, wanted: Adapter) -> bool:
    return all(torch.equal(tensor, wanted.state_dict()[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("name", ["user/name", "hf://user/name", "user/name/models/theirs.pth"])
def test_it_is_read_as_from_a_folder(name: str, repository: Hub, adapter: Adapter) -> None:
    assert same(read_adapter(name), adapter)


def test_a_training_begins_from_it(
    repository: Hub, adapter: Adapter, tiny: StableDiffusion, tmp_path: Path
) -> None:
    assert same(make_start(toy_config(tmp_path, start="user/name"), tiny), adapter)


def test_what_was_fetched_is_used_where_the_hub_is_not_reached(repository: Hub, adapter: Adapter) -> None:
    read_adapter("user/name")
    repository.fail = lambda method, path: 503
    assert same(read_adapter("user/name"), adapter)
    with pytest.raises(RequestError, match=r"user/name/models/theirs\.pth, taken as a hub id .*cannot be fetched"):
        read_adapter("user/name/models/theirs.pth")


def test_the_newest_is_fetched(repository: Hub, adapter: Adapter, tmp_path: Path) -> None:
    assert same(read_adapter("user/name"), adapter)
    newer = make_adapter(adapter.config, 4)
    save_adapter(newer, tmp_path / "kept")
    repository.edit({WEIGHTS: (tmp_path / "kept" / WEIGHTS).read_bytes()})
    assert same(read_adapter("user/name"), newer)


def test_a_repository_without_an_adapter_is_refused(repository: Hub) -> None:
    repository.edit({WEIGHTS: None})
    with pytest.raises(RequestError, match=f"user/name: the repository on the Hub has none of {FILES[0]}, "):
        read_adapter("user/name")
    with pytest.raises(RequestError, match=r"has none of other\.safetensors"):
        read_adapter("user/name/other.safetensors")


def test_a_folder_of_that_name_comes_first_and_other_paths_are_none_of_the_hub(
    repository: Hub, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    repository.fail = lambda method, path: asked.append(path)
    monkeypatch.chdir(tmp_path)
    for name in ("runs/sketch/adapter", "/user/name", "./b", "name", "../name", "user/name/../a.pth"):
        with pytest.raises(RequestError, match="there is no adapter "):
            read_adapter(name)
    (tmp_path / "user").mkdir()
    (tmp_path / "kept").rename(tmp_path / "user" / "name")
    assert same(read_adapter("user/name"), adapter)
    assert asked == []


def test_a_weight_may_follow() -> None:
    assert parse_adapter("sketch=user/name:0.5").path == "user/name"
    assert parse_adapter("sketch=hf://user/name:0.5").path == "hf://user/name"
    assert parse_adapter("sketch=hf://user/name").path == "hf://user/name"
