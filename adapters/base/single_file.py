"""A base in one .safetensors file, in the layout of Stability AI's own code, which webui and ComfyUI read too.

Such a file has the weights alone. Configurations and tokenizers are taken from the folder that it lies in, where
they are in diffusers' layout, or else from the model on the Hub that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.adapters.records import read_named_tensors
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    import torch

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
ORIGINS = {
    "conditioner.embedders.1.model.": "stabilityai/stable-diffusion-xl-base-1.0",
    "cond_stage_model.transformer.": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
"""How the names of a text encoder's tensors begin -> the model on the Hub that has such an encoder."""
INDEX = "model_index.json"


@dataclass(frozen=True)
class SingleFile:
    """place: folder or hub id with the configurations and tokenizers. tensors: by the names in the file."""

    path: Path
    place: str
    tensors: dict[str, torch.Tensor]

    def read_network(self, network: Any, part: str) -> Any:
        """One of diffusers' or transformers' networks. Raises RequestError where the file lacks a tensor of it."""
        from diffusers.loaders import single_file_utils as utils

        read_text = partial(utils.create_diffusers_clip_model_from_ldm, network)
        try:
            read = getattr(network, "from_single_file", read_text)(self.tensors, config=self.place, subfolder=part)
        except (utils.SingleFileComponentError, NotImplementedError):  # the latter of what has no data
            read = None
        if read is None or any(tensor.is_meta for tensor in chain(read.parameters(), read.buffers())):
            raise RequestError(f"--base {self.path} is incomplete: it lacks tensors of the {part}")
        return read

    def adapt_schedule(self, schedule: Mapping[str, Any]) -> dict[str, Any]:
        """The schedule, with what the file says of its objective, by names of tensors that ComfyUI knows."""
        told = {"v_pred": ("prediction_type", "v_prediction"), "ztsnr": ("rescale_betas_zero_snr", True)}
        return {**schedule, **dict(told[name] for name in told if name in self.tensors)}


def open_single_file(path: Path) -> SingleFile:
    """Raises RequestError for another kind of file, and where it does not tell which model it was made from."""
    if path.suffix != ".safetensors":
        raise RequestError(
            f"--base {path} must be a .safetensors file, a folder in diffusers' layout, or a hub id"
        )
    tensors = read_named_tensors(path)
    if FIRST not in tensors:
        raise RequestError(
            f"--base {path} must be a whole Stable Diffusion in one file, and it has no tensor {FIRST}"
        )
    beside = path.parent / INDEX
    origins = (hub_id for start, hub_id in ORIGINS.items() if any(name.startswith(start) for name in tensors))
    place = str(path.parent) if beside.exists() else next(origins, None)
    if place is None:
        raise RequestError(
            f"--base {path} is neither of Stable Diffusion 1.x nor of SDXL, and does not tell its configuration: "
            f"put it into the folder that has {INDEX} of its model in diffusers' layout"
        )
    return SingleFile(path, place, tensors)
