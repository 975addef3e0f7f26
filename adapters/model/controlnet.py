"""ControlNets of others: folders that `diffusers.ControlNetModel.from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.base.family import FACTOR
from t2i_shards.adapters.finite import name_not_finite
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from diffusers import ControlNetModel

CLASS = "ControlNetModel"
WEIGHTS = "diffusion_pytorch_model{}.safetensors"
VARIANTS = (None, "fp16")
"""What may be added to the name of the file of weights."""
SHAPE = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "addition_embed_type")
"""What decides which residuals a ControlNet makes, and out of what; its way down may have fewer attentions."""


def read_controlnet(folder: Path) -> ControlNetModel:
    """The ControlNet in a folder in diffusers' layout, in float32, frozen. Of weights only safetensors are read.

    Raises RequestError where there is none, or one that is not whole.
    """
    from diffusers import ControlNetModel

    refuse_missing(folder)
    try:
        config = ControlNetModel.load_config(folder)
        _check_config(folder, config)
        variant = _find_variant(folder)
        network, report = ControlNetModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, variant=variant, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RequestError(f"--controlnet {folder} cannot be loaded: {reason}") from error
    for lacking in (*report["missing_keys"], *report["mismatched_keys"]):
        raise RequestError(f"--controlnet {folder} is incomplete: it has no {lacking} of the right shape")
    if name := name_not_finite(network.state_dict()):
        raise RequestError(f"--controlnet {folder} cannot be used: {name} holds numbers that are not finite")
    return network.float().requires_grad_(False).eval()


def refuse_missing(folder: Path) -> None:
    """RequestError where there is no folder in diffusers' layout."""
    for path, lacks in ((folder, "there is none at {}"), (folder / "config.json", "there is no {}")):
        if not path.exists():
            raise RequestError(f"--controlnet must be a folder in diffusers' layout, and {lacks.format(path)}")


def check_controlnet(base: Base, network: ControlNetModel, name: str) -> None:
    """Raises RequestError for a ControlNet, called `name` in messages, of a UNet of another shape."""
    ours: Any = base.denoiser
    for key in SHAPE:
        wanted, found = (_plain(shaped.config.get(key)) for shaped in (ours, network))
        if wanted != found:
            raise RequestError(
                "a ControlNet goes with bases of the family that it was trained on: "
                f"{name} has {key} {found}, and the base's UNet {wanted}"
            )


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    found = config.get("_class_name")
    if found != CLASS:
        hint = "; use --adapter" if found == "T2IAdapter" else ""
        raise RequestError(
            f"--controlnet must be a {CLASS}, and {folder} holds a {found or 'model of no class'}{hint}"
        )
    for key in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
        if config.get(key):
            raise RequestError(
                f"--controlnet must see the picture, its caption and the condition alone, and {folder} is given "
                f"more ({key} {config[key]})"
            )
    widths = config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    if 2 ** (len(widths) - 1) != FACTOR:
        raise RequestError(
            f"--controlnet must take {FACTOR}x{FACTOR} pixels of the condition to a cell, and {folder} has "
            f"conditioning_embedding_out_channels {list(widths)}"
        )


def _find_variant(folder: Path) -> str | None:
    for variant in VARIANTS:
        if (folder / WEIGHTS.format(f".{variant}" if variant else "")).is_file():
            return variant
    raise RequestError(f"--controlnet {folder} is incomplete: it has no {WEIGHTS.format('')}")


def _plain(value: Any) -> Any:
    """Without the difference of a tuple and the list that JSON makes of it."""
    return list(value) if isinstance(value, tuple) else value
