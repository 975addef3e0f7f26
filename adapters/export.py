"""Adapters on disk: a folder that `diffusers.T2IAdapter.from_pretrained` loads, nothing missing or unexpected.

diffusers knows one narrowness (4) of its light adapter, and gives the last two features one width. What it cannot
express is stored inside the next larger thing that it can: with zeros behind the tensors' own values, and with
a fifth stage of zeros whose feature the UNet has no block for. The features are the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adapters.adapter import Adapter
from adapters.sizes import SIZES, Layout
from pipeline.errors import RequestError

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PREFIX = "adapter."


def save_adapter(adapter: Adapter, folder: Path) -> None:
    """Write config.json and the weights into an existing folder. The same adapter gives the same bytes."""
    stored = stored_layout(adapter.layout)
    (folder / CONFIG).write_text(json.dumps(diffusers_config(stored), indent=2) + "\n")
    own = adapter.state_dict()
    tensors = {PREFIX + name: _enlarge(own.get(name), like) for name, like in _shapes(stored).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def load_adapter(adapter: Adapter, folder: Path) -> None:
    """Fill the adapter with the weights in `folder`, bit for bit. Raises RequestError when they do not fit it."""
    stored = stored_layout(adapter.layout)
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    expected = _shapes(stored)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
        raise RequestError(f"{folder} does not hold an adapter of the layout {diffusers_config(stored)}")
    own = {name: _corner(tensors[name], tensor.shape) for name, tensor in adapter.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.count_nonzero() != own.get(name, tensor[:0]).count_nonzero():
            raise RequestError(f"{folder} holds a wider adapter: {name} is not zero beyond this one's channels")
    adapter.load_state_dict(own)


def stored_layout(layout: Layout) -> Layout:
    """The layout that holds this one and that diffusers can express."""
    if layout.size.kind == "full":
        return layout
    size, channels = SIZES["small"], layout.channels
    if channels[-1] != channels[-2]:
        return replace(layout, size=replace(size, downs=(*size.downs, True)), channels=(*channels, channels[-1]))
    return replace(layout, size=size)


def diffusers_config(stored: Layout) -> dict[str, Any]:
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


def _shapes(layout: Layout) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return Adapter(layout).state_dict()


def _enlarge(tensor: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    enlarged = torch.zeros(like.shape, dtype=like.dtype)
    if tensor is not None:
        _corner(enlarged, tensor.shape).copy_(tensor)
    return enlarged


def _corner(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return tensor[tuple(slice(length) for length in shape)]
