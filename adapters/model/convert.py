"""Adapters from and for other tools, recognised by the names and shapes of their tensors alone.

Two layouts are in use. diffusers': adapter.body.{stage}.resnets.{block}.block1. TencentARC's, in the repository
TencentARC/T2I-Adapter (Adapter and Adapter_light in ldm/modules/encoders/adapter.py, Adapter_XL in
Adapter/models/adapters.py): for full and XL adapters the blocks of all stages in one row,
body.{2 stage + block}.block1; for light ones body.{stage}.body.{block}.block1. Some files have a leading
"adapter.". All published full and XL files were made with nums_rb=2, ksize=1, sk=True, use_conv=False: two blocks,
1x1 convolutions, no "skep", no "down_opt".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from t2i_shards.adapters.finite import name_not_finite
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.config import SIZES, AdapterConfig
from t2i_shards.adapters.model.diffusers_io import (
    PREFIX,
    WEIGHTS,
    Tensors,
    enlarge,
    has_shapes,
    shapes_of,
    shrink,
    stored_config,
)
from t2i_shards.adapters.options import AdapterName
from t2i_shards.extractors.atomic import create_file
from t2i_shards.extractors.weights.checkpoints import NotTensors, read_tensors, save_tensors
from t2i_shards.extractors.weights.fetch import CONNECT_TIMEOUT, MOST_BYTES
from t2i_shards.pipeline.errors import RequestError, describe_error

_PART = r"\w[\w.-]*"
HUB_ID = re.compile(rf"(?:hf://)?({_PART}/{_PART})(?:/((?:{_PART}/)*{_PART}\.(?:safetensors|pth|pt|bin|ckpt)))?")

TensorLayout = Literal["diffusers", "tencentarc"]
IN_CHANNELS = (1, 3)
"""Channels of conditions. They distinguish SDXL's adapters, which see 16x16 pixels at a time, from SD's (8x8)."""

FILES = (WEIGHTS, f"adapter/{WEIGHTS}", WEIGHTS.replace(".", ".fp16.", 1), WEIGHTS.replace("safetensors", "bin"))
"""What is looked for in a folder or a repository: an adapter's own, a run's, and other names of published ones."""


def fetch_adapter(name: str, files: Sequence[str]) -> Path:
    """The weights file of an adapter on the Hub, in the client's cache.

    name: USER/NAME, or USER/NAME/FILE where a repository holds several; without FILE the first of `files` that it
    has.

    The newest one there is; where the Hub cannot be reached or HF_HUB_OFFLINE is set, the one that was fetched
    before. A token that the client knows is used, as for bases. Raises RequestError.
    """
    found = HUB_ID.fullmatch(name)
    if found is None:
        raise RequestError(f"there is no adapter {name}")
    repository, file = found.groups()
    wanted = [file] if file else list(files)
    try:
        path = _fetch_first(repository, wanted)
    except Exception as error:  # the client raises errors of its own, of its HTTP library and OSError
        path = _find_cached(repository, wanted)
        if path is None:
            raise RequestError(
                f"adapter {name}, taken as a hub id (there is no such file or folder), cannot be fetched: "
                f"{describe_error(error)[:200]}"
            ) from error
    if path is None:
        raise RequestError(f"adapter {name}: the repository on the Hub has none of {', '.join(wanted)}")
    return path


def _fetch_first(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for file in files:
        try:
            # Asked for first, with a timeout: without a network hf_hub_download alone retries for 23 s.
            size = get_hf_file_metadata(hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT).size
        except EntryNotFoundError:
            continue
        if size is not None and size > MOST_BYTES:
            raise ValueError(f"{file} has {size} bytes, more than any adapter")
        return Path(hf_hub_download(repository, file))
    return None


def _find_cached(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


@dataclass(frozen=True)
class AdapterFile:
    """tensors: named as in `Adapter`, in the file's dtype. written_as: the layout that the file was in."""

    size: AdapterName
    config: AdapterConfig
    tensors: Tensors
    written_as: TensorLayout


def read_adapter(path: str | Path) -> Adapter:
    """The adapter in a file, an adapter's folder, a run's, or on the Hub, in float32, to use or to train on from.

    Raises RequestError where there is none.
    """
    found = open_adapter(path)
    with torch.device("meta"):
        adapter = Adapter(found.config)
    tensors = {name: tensor.float() for name, tensor in found.tensors.items()}
    adapter.load_state_dict(tensors, assign=True)
    return adapter


def open_adapter(path: str | Path) -> AdapterFile:
    """`read_adapter`, less the network: what kind of adapter there is, and its tensors."""
    file = _find_weights(path)
    try:
        named = read_tensors(file)
    except NotTensors as error:
        raise RequestError(f"{file} is not a T2I-Adapter: {error}") from error
    if name := name_not_finite(named):
        raise RequestError(f"{file} cannot be used: {name} holds numbers that are not finite")
    if all(name.startswith(PREFIX) for name in named):
        named = {name.removeprefix(PREFIX): tensor for name, tensor in named.items()}
    ours = any(".resnets." in name for name in named)
    light = "conv_in.weight" not in named
    tensors = named if ours else {_from_tencentarc(name, light): tensor for name, tensor in named.items()}
    for size, config in recognise(tensors, file):
        own = shrink(tensors, config)
        if own is not None:
            return AdapterFile(size, config, own, "diffusers" if ours else "tencentarc")
    raise RequestError(f"{file} is not a T2I-Adapter of a known size: its fifth stage is not empty")


def widen_input(found: AdapterFile) -> AdapterFile:
    """An adapter of one channel as one of three that makes the same features of a grey condition shown as RGB."""
    if found.config.in_channels != 1:
        raise RequestError(
            f"--channels 3 is for an adapter of 1 channel, and this one has {found.config.in_channels}"
        )
    first = "conv_in.weight" if "conv_in.weight" in found.tensors else "body.0.in_conv.weight"
    # Unshuffled pixels come channel by channel, so the weights repeat as blocks.
    widened = found.tensors[first].repeat(1, 3, 1, 1) / 3
    return replace(found, config=replace(found.config, in_channels=3), tensors={**found.tensors, first: widened})


def recognise(tensors: Mapping[str, torch.Tensor], file: Path) -> list[tuple[AdapterName, AdapterConfig]]:
    """The adapters that tensors of these names (as in `Adapter`) and shapes can hold, the narrowest first.

    More than one where a narrow one may be padded with zeros to a wider one. Raises RequestError when there is
    none, with the first difference.
    """
    try:
        candidates = list(_candidates(tensors))
    except KeyError as error:
        raise RequestError(f"{file} is not a T2I-Adapter: it has no convolution {error.args[0]}") from None
    fits = [
        (size, config)
        for size, config in candidates
        if has_shapes(tensors, config) or has_shapes(tensors, stored_config(config))
    ]
    if not fits:
        raise RequestError(f"{file} is not a T2I-Adapter of a known size: {_difference(tensors, candidates)}")
    return fits


def write_tencentarc(config: AdapterConfig, tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a new .safetensors or, as TencentARC's scripts want it, .pth file. The tensors keep their dtype."""
    stored = stored_config(config)
    light = config.size.kind == "light"
    named = {_to_tencentarc(name, light): tensor for name, tensor in enlarge(tensors, stored).items()}
    with create_file(file) as scratch:
        if file.suffix == ".safetensors":
            save_tensors(named, scratch)
        else:
            torch.save(named, scratch)


def _find_weights(name: str | Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if not path.is_dir():
        return fetch_adapter(str(name), FILES)
    for name in FILES:
        if (path / name).is_file():
            return path / name
    raise RequestError(f"{path} is not an adapter's folder: it has no {WEIGHTS}")


def _candidates(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[AdapterName, AdapterConfig]]:
    """The sizes that the tensors might be of, the narrowest first. KeyError names a tensor that all these have."""
    full = "conv_in.weight" in tensors
    pixels = _width(tensors, "conv_in.weight" if full else "body.0.in_conv.weight", axis=1)
    width = "body.{}.resnets.1.block1.weight" if full else "body.{}.out_conv.weight"
    for name in sorted(SIZES, key=lambda name: -SIZES[name].narrow):
        size = SIZES[name]
        for in_channels in IN_CHANNELS:
            if (size.kind == "full") == full and pixels == in_channels * size.unshuffle**2:
                channels = tuple(_width(tensors, width.format(stage), axis=0) for stage in range(len(size.downs)))
                yield name, AdapterConfig(size, in_channels, channels)


def _width(tensors: Mapping[str, torch.Tensor], name: str, axis: int) -> int:
    if name not in tensors or tensors[name].ndim != 4:
        raise KeyError(name)
    return tensors[name].shape[axis]


def _difference(tensors: Mapping[str, torch.Tensor], candidates: list[tuple[AdapterName, AdapterConfig]]) -> str:
    """The first way in which the tensors differ from the widest candidate."""
    if not candidates:
        return f"its input has neither {' nor '.join(map(str, IN_CHANNELS))} channels"
    size, config = candidates[-1]
    either = (shapes_of(config), shapes_of(stored_config(config)))
    expected = min(either, key=lambda shapes: len(shapes.keys() ^ tensors.keys()))
    what = f"the adapter called {size}, with {config.in_channels} channels in,"
    for name in sorted(expected.keys() - tensors.keys()):
        return f"{what} has a tensor {name}, which is missing"
    for name in sorted(tensors.keys() - expected.keys()):
        return f"{what} has no tensor {name}"
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            return f"{name} of {what} is {tuple(shape)}, not {tuple(tensors[name].shape)}"
    raise AssertionError("two sets of the same names and shapes differ")


def _from_tencentarc(name: str, light: bool) -> str:
    parts = name.split(".")
    if parts[0] != "body" or len(parts) < 3 or not parts[1].isdecimal():
        return name
    if light:
        return name.replace(".body.", ".resnets.")
    stage, block = divmod(int(parts[1]), 2)
    if parts[2] == "in_conv" and block == 0:
        return ".".join(["body", str(stage), *parts[2:]])
    return ".".join(["body", str(stage), "resnets", str(block), *parts[2:]])


def _to_tencentarc(name: str, light: bool) -> str:
    parts = name.split(".")
    if light or parts[0] != "body":
        return name.replace(".resnets.", ".body.")
    stage = int(parts[1])
    if parts[2] == "resnets":
        return ".".join(["body", str(2 * stage + int(parts[3])), *parts[4:]])
    return ".".join(["body", str(2 * stage), *parts[2:]])
