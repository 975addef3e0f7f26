"""convert-adapter, as the command line asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file

from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, save_adapter
from t2i_shards.adapters.options import AdapterName
from t2i_shards.jobs.__main__ import run

WIDTHS: dict[AdapterName, tuple[int, ...]] = {
    "base": (32, 64, 128, 128),
    "small": (32, 64, 128, 128),
    "tiny": (32, 32, 32, 64),
    "xl": (32, 32, 64),
}


def _saved(folder: Path, size: AdapterName) -> Path:
    folder.mkdir()
    save_adapter(make_adapter(adapter_config_for(size, 3, WIDTHS[size]), seed=1), folder)
    return folder


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_there_and_back_gives_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: AdapterName, suffix: str
) -> None:
    first, there, back = _saved(tmp_path / "first", size), tmp_path / f"there{suffix}", tmp_path / "back"
    assert run(["convert-adapter", str(first), str(there), "--layout", "tencentarc", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["adapter"], record["in_channels"], record["from"]) == (size, 3, "diffusers")
    assert run(["convert-adapter", str(there), str(back), "--layout", "diffusers"]) == 0
    assert (back / WEIGHTS).read_bytes() == (first / WEIGHTS).read_bytes()
    assert (back / "config.json").read_bytes() == (first / "config.json").read_bytes()
    _, report = T2IAdapter.from_pretrained(back, output_loading_info=True)
    assert not any(report.values())
    names = set(load_file(there) if suffix == ".safetensors" else torch.load(there, weights_only=True))
    assert not any(".resnets." in name or name.startswith("adapter.") for name in names)


@pytest.mark.parametrize("size", WIDTHS)
def test_an_adapter_of_one_channel_becomes_one_of_three_with_the_same_features(
    tmp_path: Path, size: AdapterName
) -> None:
    one = make_adapter(adapter_config_for(size, 1, WIDTHS[size]), seed=1)
    (tmp_path / "one").mkdir()
    save_adapter(one, tmp_path / "one")
    there = tmp_path / "three.safetensors"
    assert (
        run(["convert-adapter", str(tmp_path / "one"), str(there), *"--layout tencentarc --channels 3".split()])
        == 0
    )
    three = read_adapter(there)
    assert three.config.in_channels == 3
    grey = torch.rand(1, 1, 128, 192, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(three(grey.expand(-1, 3, -1, -1)), one(grey), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("missing out --layout diffusers", "there is no adapter missing"),
        ("text.pth out --layout diffusers", "text.pth is not a T2I-Adapter: "),
        ("empty out --layout diffusers", "empty is not an adapter's folder"),
        ("adapter empty --layout diffusers", "must have a name of its own, and empty is there already"),
        ("adapter out.pth --layout tencentarc --channels 3", "is for an adapter of 1 channel, and this one has 3"),
        ("adapter out --layout tencentarc", "is a .safetensors or .pth file, not out"),
    ],
)
def test_wrong_request_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _saved(tmp_path / "adapter", "tiny")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pth").write_text("an essay")
    before = sorted(tmp_path.rglob("*"))
    assert run(["convert-adapter", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
