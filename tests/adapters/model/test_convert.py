from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import T2IAdapter
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.model import convert as interchange
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.convert import open_adapter, read_adapter, write_tencentarc
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, save_adapter, write_diffusers
from t2i_shards.adapters.options import AdapterName
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.published import (
    Shapes,
    from_diffusers,
    on_meta,
    tencentarc_full,
    tencentarc_light,
)

SD, SDXL = (320, 640, 1280, 1280), (320, 640, 1280)
SMALL, SMALL_XL = (32, 64, 128, 128), (32, 64, 128)

Tensors = dict[str, torch.Tensor]


@pytest.mark.parametrize("prefix", ["", "adapter."])
@pytest.mark.parametrize(
    ("shapes", "size", "widths", "in_channels", "parameters"),
    [
        (tencentarc_full(64, SD), "base", SD, 1, 77_000_640),
        (tencentarc_full(192, SD), "base", SD, 3, 77_369_280),
        (tencentarc_light(64, SD), "small", SD, 1, 18_678_960),
        (tencentarc_light(192, SD), "small", SD, 3, 18_689_200),
        (tencentarc_light(64, SD, narrow=8), "tiny", SD, 1, 5_078_840),
        (tencentarc_full(256, SD), "xl", SDXL, 1, 77_553_600),
        (tencentarc_full(768, SD), "xl", SDXL, 3, 79_028_160),
    ],
)
def test_published_files_are_known_by_names_and_shapes(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    prefix: str,
    shapes: Shapes,
    size: AdapterName,
    widths: tuple[int, ...],
    in_channels: int,
    parameters: int,
) -> None:
    assert sum(prod(shape) for shape in shapes.values()) == parameters
    seen: list[Any] = []

    # Whether there are zeros cannot be asked of tensors without values: the widest that fits is what counts.
    monkeypatch.setattr(interchange, "shrink", lambda tensors, layout: seen.append(layout))
    monkeypatch.setattr(interchange, "name_not_finite", lambda tensors: None)
    named = {prefix + name: tensor for name, tensor in on_meta(shapes).items()}
    monkeypatch.setattr(interchange, "read_tensors", lambda file: named)
    (tmp_path / "adapter.pth").touch()
    with pytest.raises(RequestError):
        open_adapter(tmp_path / "adapter.pth")
    assert seen[-1] == adapter_config_for(size, in_channels, widths)


def _theirs(kind: str, channels: int = 3, seed: int = 3) -> T2IAdapter:
    settings: dict[str, dict[str, Any]] = {
        "full_adapter": {"channels": list(SMALL), "num_res_blocks": 2, "downscale_factor": 8},
        "full_adapter_xl": {"channels": list(SMALL), "num_res_blocks": 2, "downscale_factor": 16},
        "light_adapter": {"channels": list(SMALL[:3]), "num_res_blocks": 4, "downscale_factor": 8},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return T2IAdapter(in_channels=channels, adapter_type=kind, **settings[kind]).requires_grad_(False)


def _published(theirs: T2IAdapter, prefix: str = "") -> Tensors:
    light = theirs.config.adapter_type == "light_adapter"
    return {prefix + from_diffusers(name, light): tensor for name, tensor in theirs.state_dict().items()}


KINDS: list[tuple[str, AdapterName, tuple[int, ...]]] = [
    ("full_adapter", "base", SMALL),
    ("light_adapter", "small", SMALL),
    ("full_adapter_xl", "xl", SMALL_XL),
]


@pytest.mark.parametrize(("kind", "size", "widths"), KINDS)
@pytest.mark.parametrize("prefix", ["", "adapter."])
@pytest.mark.parametrize("channels", [1, 3])
def test_tencentarcs_file_gives_diffusers_features(
    tmp_path: Path, kind: str, size: AdapterName, widths: tuple[int, ...], prefix: str, channels: int
) -> None:
    theirs = _theirs(kind, channels)
    torch.save(_published(theirs, prefix), tmp_path / "adapter.pth")
    adapter = read_adapter(tmp_path / "adapter.pth")
    assert adapter.config == adapter_config_for(size, channels, widths)
    condition = torch.rand(1, channels, 128, 192, generator=torch.Generator().manual_seed(0))
    for ours, other in zip(adapter(condition), theirs(condition), strict=True):
        assert torch.equal(ours, other)


@pytest.mark.parametrize(("kind", "size", "widths"), KINDS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_there_and_back_is_bit_exact(
    tmp_path: Path, kind: str, size: AdapterName, widths: tuple[int, ...], suffix: str
) -> None:
    published = _published(_theirs(kind))
    save_file(published, tmp_path / "published.safetensors")
    found = open_adapter(tmp_path / "published.safetensors")
    assert (found.size, found.written_as) == (size, "tencentarc")

    (tmp_path / "diffusers").mkdir()
    write_diffusers(found.config, found.tensors, tmp_path / "diffusers")
    again = open_adapter(tmp_path / "diffusers")
    assert (again.size, again.written_as) == (size, "diffusers")
    file = (tmp_path / "again").with_suffix(suffix)
    write_tencentarc(again.config, again.tensors, file)

    written = load_file(file) if suffix == ".safetensors" else torch.load(file, weights_only=True)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in published.items())


RISING = (32, 32, 32, 64)


@pytest.mark.parametrize("widths", [SMALL, RISING])
@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("layout", ["diffusers", "tencentarc"])
def test_what_is_padded_with_zeros_is_read_without_them(
    tmp_path: Path, widths: tuple[int, ...], size: AdapterName, layout: str
) -> None:
    adapter = make_adapter(adapter_config_for(size, 1, widths), seed=1)
    if layout == "diffusers":
        save_adapter(adapter, tmp_path)
        file = tmp_path
    else:
        file = tmp_path / "adapter.safetensors"
        write_tencentarc(adapter.config, adapter.state_dict(), file)
    read = read_adapter(file)
    assert read.config == adapter.config
    assert all(torch.equal(read.state_dict()[name], tensor) for name, tensor in adapter.state_dict().items())
    assert all(parameter.requires_grad for parameter in read.parameters())


def test_tiny_in_tencentarcs_layout_is_their_light_adapter(tmp_path: Path) -> None:
    adapter = make_adapter(adapter_config_for("tiny", 3, SMALL), seed=1)
    write_tencentarc(adapter.config, adapter.state_dict(), tmp_path / "tiny.safetensors")
    written = load_file(tmp_path / "tiny.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in written.items()} == tencentarc_light(192, SMALL)
    theirs = _theirs("light_adapter")
    theirs.load_state_dict({name: written[from_diffusers(name, True)] for name in theirs.state_dict()})
    condition = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for ours, other in zip(adapter(condition), theirs(condition), strict=True):
        torch.testing.assert_close(other, ours, rtol=0, atol=1e-6)


def test_adapter_is_found_in_a_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    adapter = make_adapter(adapter_config_for("base", 1, RISING), seed=1)
    save_adapter(adapter, tmp_path / "adapter")
    assert torch.equal(read_adapter(tmp_path).conv_in.weight, adapter.conv_in.weight)


def test_half_precision_is_read_as_float32_and_passed_on_as_it_is(tmp_path: Path) -> None:
    published = {name: tensor.half() for name, tensor in _published(_theirs("full_adapter")).items()}
    save_file(published, tmp_path / "half.safetensors")
    found = open_adapter(tmp_path / "half.safetensors")
    write_tencentarc(found.config, found.tensors, tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert {tensor.dtype for tensor in again.values()} == {torch.float16}
    assert all(torch.equal(again[name], tensor) for name, tensor in published.items())
    weight = read_adapter(tmp_path / "half.safetensors").conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, published["conv_in.weight"].float())


def _drop(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {other: tensor for other, tensor in tensors.items() if other != name}


def _with(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: torch.ones(shape)}


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("full_adapter", _drop("body.3.block2.bias"), r"has a tensor body\.1\.resnets\.1\.block2\.bias, which is"),
        (
            "full_adapter",
            _with("body.0.skep.weight", 32, 32, 1, 1),
            r"has no tensor body\.0\.resnets\.0\.skep\.wei",
        ),
        ("full_adapter", _with("body.2.down_opt.op.bias", 32), r"has no tensor .*down_opt"),
        ("full_adapter", _with("conv_in.weight", 32, 128, 3, 3), "its input has neither 1 nor 3 channels"),
        ("full_adapter", _with("body.0.block2.bias", 31), r"is \(32,\), not \(31,\)"),
        ("full_adapter", _drop("body.7.block1.weight"), r"no convolution body\.3\.resnets\.1\.block1\.weight"),
        ("light_adapter", _drop("body.0.in_conv.weight"), r"no convolution body\.0\.in_conv\.weight"),
        ("light_adapter", _with("body.0.in_conv.weight", 8), r"no convolution body\.0\.in_conv\.weight"),
        ("light_adapter", lambda tensors: {"a": torch.ones(1)}, "no convolution"),
    ],
)
def test_what_is_no_adapter_is_refused_in_one_line(
    tmp_path: Path, kind: str, change: Callable[[Tensors], Tensors], line: str
) -> None:
    save_file(change(_published(_theirs(kind))), tmp_path / "other.safetensors")
    with pytest.raises(RequestError, match=f"is not a T2I-Adapter.* {line}") as refusal:
        read_adapter(tmp_path / "other.safetensors")
    assert "\n" not in str(refusal.value)


def test_fifth_stage_that_does_something_is_refused(tmp_path: Path) -> None:
    save_adapter(make_adapter(adapter_config_for("small", 1, RISING), seed=1), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["adapter.body.4.out_conv.bias"][0] = 1
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(RequestError, match="fifth stage is not empty"):
        read_adapter(tmp_path)


class Trap:
    """A pickle of it makes a folder when it is loaded."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (Path("trap"),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv_in.weight": Trap()}, "adapter.pth")
    with pytest.raises(RequestError, match="is not a T2I-Adapter"):
        read_adapter("adapter.pth")
    assert not Path("trap").exists()


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no adapter"):
        read_adapter(tmp_path / "none")
    with pytest.raises(RequestError, match="is not an adapter's folder"):
        read_adapter(tmp_path)
