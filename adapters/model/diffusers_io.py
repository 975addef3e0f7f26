"""Adapters on disk: a folder that `diffusers.T2IAdapter.from_pretrained` loads, nothing missing or unexpected.

diffusers knows one narrowness (4) of its light adapter, and gives the last two features one width. An adapter that
it cannot express is stored as the next larger one that it can: padded with zeros, and with a fifth stage of zeros
whose feature no block of the UNet uses. The features are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from t2i_shards.adapters.finite import name_not_finite
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.config import SIZES, AdapterConfig
from t2i_shards.adapters.records import read_named_tensors
from t2i_shards.extractors.weights.checkpoints import save_tensors
from t2i_shards.pipeline.errors import IncompleteError, RequestError

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PREFIX = "adapter."

Tensors = dict[str, torch.Tensor]


def save_adapter(adapter: Adapter, folder: Path) -> None:
    """Write config.json and the weights into an existing folder. The same adapter gives the same bytes.

    Raises IncompleteError for one that holds numbers that are not finite.
    """
    tensors = adapter.state_dict()
    if name := name_not_finite(tensors):
        raise IncompleteError(f"the adapter holds numbers that are not finite ({name}), and is not kept")
    write_diffusers(adapter.config, tensors, folder)


def write_diffusers(config: AdapterConfig, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """`save_adapter` for bare tensors, named as in `Adapter`, which keep their dtype."""
    stored = stored_config(config)
    (folder / CONFIG).write_text(json.dumps(diffusers_config(stored), indent=2) + "\n")
    named = {PREFIX + name: tensor for name, tensor in enlarge(tensors, stored).items()}
    save_tensors(named, folder / WEIGHTS, {"format": "pt"})


def load_adapter(adapter: Adapter, folder: Path) -> None:
    """Fill the adapter with the weights in `folder`, bit for bit. Raises RequestError when they do not fit it."""
    stored = stored_config(adapter.config)
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in read_named_tensors(folder / WEIGHTS).items()}
    if not has_shapes(tensors, stored):
        raise RequestError(f"{folder} does not hold an adapter of the layout {diffusers_config(stored)}")
    own = shrink(tensors, adapter.config)
    if own is None:
        raise RequestError(f"{folder} holds a wider adapter: its tensors are not zero beyond this one's channels")
    adapter.load_state_dict(own)


def stored_config(config: AdapterConfig) -> AdapterConfig:
    """The smallest configuration that diffusers can express and that holds this one."""
    if config.size.kind == "full":
        return config
    size, channels = SIZES["small"], config.channels
    if channels[-1] != channels[-2]:
        return replace(config, size=replace(size, downs=(*size.downs, True)), channels=(*channels, channels[-1]))
    return replace(config, size=size)


def diffusers_config(stored: AdapterConfig) -> dict[str, Any]:
    """config.json of a `T2IAdapter`; a light one's channels leave out the last stage, which repeats them."""
    size, light = stored.size, stored.size.kind == "light"
    kind = "light_adapter" if light else "full_adapter" if size.unshuffle == 8 else "full_adapter_xl"
    return {
        "_class_name": "T2IAdapter",
        "adapter_type": kind,
        "channels": list(stored.channels[:-1] if light else stored.channels),
        "downscale_factor": size.unshuffle,
        "in_channels": stored.in_channels,
        "num_res_blocks": size.blocks,
    }


def shapes_of(config: AdapterConfig) -> dict[str, torch.Size]:
    """Of an adapter's tensors, by name."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Adapter(config).state_dict().items()}


def has_shapes(tensors: Mapping[str, torch.Tensor], config: AdapterConfig) -> bool:
    return {name: tensor.shape for name, tensor in tensors.items()} == shapes_of(config)


def enlarge(tensors: Mapping[str, torch.Tensor], stored: AdapterConfig) -> Tensors:
    """The tensors in the corner of those of a larger layout, zeros around them."""
    dtype = next(iter(tensors.values())).dtype
    enlarged = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes_of(stored).items()}
    for name, tensor in tensors.items():
        _corner(enlarged[name], tensor.shape).copy_(tensor)
    return enlarged


def shrink(tensors: Mapping[str, torch.Tensor], config: AdapterConfig) -> Tensors | None:
    """What `enlarge` was given to make these, or None when there is more than zeros around it."""
    shapes = shapes_of(config)
    own = {name: _corner(tensors[name], shape).clone() for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        inside = own[name].count_nonzero() if name in own else 0
        if tensor.count_nonzero() != inside:
            return None
    return own


def _corner(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return tensor[tuple(slice(length) for length in shape)]
