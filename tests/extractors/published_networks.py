"""Networks as their authors publish them (controlnet_aux, transformers), with weights drawn at random."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.weights.file import WeightFile


def published(channels: int, dilated: int) -> nn.Module:
    from controlnet_aux.pidi.model import PiDiNet, config_model

    network: nn.Module = PiDiNet(channels, config_model("carv4"), dil=dilated, sa=True)
    return network.eval()


def checkpoint_of(network: nn.Module) -> dict[str, Any]:
    return {"epoch": 19, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}


def published_midas() -> Any:
    """DPT-hybrid as controlnet_aux carries it, with random weights whose depth spans about 1..10."""
    import torch
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mapping deprecated model name")
        network: Any = DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True).eval()
    with torch.no_grad():
        network.scratch.output_conv[4].weight.mul_(100)
        network.scratch.output_conv[4].bias.fill_(3)
    return network


def published_depth_anything() -> Any:
    """transformers' network in the shape of the published small one, with random weights."""
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    from t2i_shards.extractors.networks.depth_anything import BACKBONE, CONFIG

    config = DepthAnythingConfig(backbone_config=Dinov2Config(**BACKBONE), **CONFIG)
    network = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():
        for stage in network.neck.fusion_stage.layers:
            stage.projection.weight.mul_(20)
        network.head.conv3.weight.mul_(50)
        network.head.conv3.bias.fill_(1)
    return network


def published_mask2former() -> Any:
    """transformers' network in the shape of the published Swin-T, with random weights that tell queries apart."""
    import torch
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    from t2i_shards.extractors.networks.mask2former import BACKBONE, CONFIG

    config = Mask2FormerConfig(backbone_config=SwinConfig(**BACKBONE), **CONFIG)
    network = Mask2FormerForUniversalSegmentation(config).eval()
    queries = network.model.transformer_module
    with torch.no_grad():
        for layer in queries.decoder.layers:
            for module in (layer.cross_attn.out_proj, layer.self_attn.out_proj, layer.fc2):
                module.weight.mul_(0.1)
        queries.queries_features.weight.normal_(std=3)
        queries.queries_embedder.weight.normal_()
        network.class_predictor.weight.mul_(10)
        network.model.pixel_level_module.decoder.mask_projection.weight.mul_(3)
        for parameter in queries.decoder.mask_predictor.mask_embedder.parameters():
            parameter.mul_(2)
    return network


def write_transformers(network: Any, path: Path) -> None:
    """The safetensors file that transformers' save_pretrained makes of a network, in the published layout."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.save_pretrained(path.parent)
    logging.enable_progress_bar()
    (path.parent / "model.safetensors").rename(path)


def write_mask2former(network: Any, path: Path) -> None:
    """The same in the layout of January 2023: without Swin's last norm, with its tables of indices."""
    import torch
    from safetensors.torch import load_file, save_file

    write_transformers(network, path)
    state = {name: tensor for name, tensor in load_file(path).items() if ".swin.layernorm." not in name}
    for name in [name for name in state if name.endswith("relative_position_bias_table")]:
        state[name.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.int64)
    save_file(state, path, metadata={"format": "pt"})


def sized(weight: WeightFile, path: Path) -> WeightFile:
    """The record of the file that lies at `path` in place of the published one."""
    return replace(weight, bytes=path.stat().st_size, sha256=sha256_of(path))


def published_vae() -> Any:
    """diffusers' autoencoder in the shape of SD 1.5's and SDXL's, with random weights."""
    from diffusers import AutoencoderKL

    from t2i_shards.extractors.networks.vae import SHAPE

    return AutoencoderKL(**SHAPE).eval()


def write_vae(vae: Any, path: Path) -> None:
    """The safetensors file of a VAE in the layout of SD 1.5's, whose attention has the names of its time."""
    from safetensors.torch import save_file

    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in vae.state_dict().items():
        for today, then in old.items():
            name = name.replace(f".{today}.", f".{then}.")
        state[name] = tensor.contiguous()
    save_file(state, path)
