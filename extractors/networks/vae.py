"""The encoding half of Stable Diffusion's autoencoder (Rombach et al., CVPR 2022), through diffusers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from t2i_shards.extractors.maps.crop import STRIDE
from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular
from t2i_shards.extractors.weights.checkpoints import NotTensors, read_tensors

SHAPE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "latent_channels": 4,
}
"""The network's shape, as in config.json of SD 1.x's and of SDXL's autoencoder."""

RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The attention's layers in files of diffusers before 0.17, SD 1.5's among them, and as they are called since."""
LEAST, MOST = -30.0, 20.0
"""Bounds of the logarithm of the variance, as in diffusers' DiagonalGaussianDistribution."""


class VaeEncoder(nn.Module):
    """(N, 3, H, W) RGB in -1..1, sides multiples of 8 -> (N, 2, C, H / 8, W / 8).

    Mean and logarithm of the variance of the unscaled latent's distribution.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder: nn.Module = vae.encoder
        self.quant_conv: nn.Module = vae.quant_conv

    def forward(self, x: Tensor) -> Tensor:
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return torch.stack([mean, logvar.clamp(LEAST, MOST)], dim=1)


def load_encoder(path: Path, shape: Mapping[str, Any]) -> VaeEncoder:
    """The network of a safetensors file in diffusers' layout, in float32. Raises NotTensors.

    shape: as SHAPE, or all of a config.json.
    """
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network = VaeEncoder(AutoencoderKL.from_config(dict(shape)))
    try:
        network.load_state_dict(read_encoder(path), strict=True, assign=True)
    except RuntimeError as error:
        wrong = " ".join(str(error).split())
        raise NotTensors(f"{path} is not the autoencoder that its config describes: {wrong[:300]}") from None
    return network


def read_encoder(path: Path) -> dict[str, Tensor]:
    """The tensors of the encoding half, float32, by today's names. Raises NotTensors for a file without any."""
    state = {_rename(name): tensor.float() for name, tensor in read_tensors(path).items() if _encodes(name)}
    if not state:
        raise NotTensors(f"{path} holds no autoencoder: none of its tensors is called encoder.…")
    return state


def read_shape(path: Path) -> Mapping[str, Any]:
    """The config.json next to a VAE's weights. Raises NotTensors for what is no VAE of Stable Diffusion's kind."""
    config = path.with_name("config.json")
    try:
        shape = decode_record(read_regular(config), dict[str, Any])
        kind, blocks = shape.get("_class_name"), len(shape["block_out_channels"])
    except (OSError, BadRecord, KeyError, TypeError) as error:
        raise NotTensors(f"{config} must give the shape of {path.name}: {type(error).__name__}") from None
    if kind != "AutoencoderKL" or 2 ** (blocks - 1) != STRIDE or not shape.get("use_quant_conv", True):
        raise NotTensors(
            f"{config} must be of an AutoencoderKL as Stable Diffusion's, {STRIDE} pixels to a latent's cell, "
            f"and is of {kind} with {2 ** (blocks - 1)}"
        )
    return dict(shape)


def digest_encoder(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and values of all of a VAE's tensors that decide a latent.

    Values are rounded to bfloat16, so that a base that is used in it has the digest of its file; a decoder that
    was trained further (ft-MSE) changes nothing.
    """
    digest = hashlib.sha256()
    for name in sorted(filter(_encodes, state)):
        tensor = state[name].detach().to("cpu", torch.bfloat16).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _encodes(name: str) -> bool:
    return name.startswith(("encoder.", "quant_conv."))


def _rename(name: str) -> str:
    return ".".join(RENAMED.get(part, part) for part in name.split("."))
