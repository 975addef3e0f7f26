"""What is no base, or a damaged one, is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.base import load_base
from t2i_shards.pipeline.errors import RequestError


def test_folder_that_holds_no_base_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be loaded") as refusal:
        load_base(str(tmp_path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "file", "change", "line"),
    [
        ("sd", "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "velocity .* predicts sample"),
        ("sdxl", "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts sample"),
        ("sd", "scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "is EDMEulerScheduler"),
        (
            "sdxl",
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "the scheduler of .* is FlowMatchEulerDiscreteScheduler",
        ),
        ("sd", "scheduler/scheduler_config.json", {"use_flow_sigmas": True}, "with use_flow_sigmas"),
        ("sd", "scheduler/scheduler_config.json", {"beta_start": None}, "has no beta_start"),
        ("sd", "scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
        ("sdxl", "vae/config.json", {"latents_mean": [0.1] * 4}, "the autoencoder of .* has latents_mean as well"),
        ("sd", "vae/config.json", {"shift_factor": 0.1}, "the autoencoder of .* has shift_factor as well"),
        ("sd", "vae/config.json", {"block_out_channels": [8, 8, 8, 8, 8]}, "of 8x8 pixels a cell, .* has 16x16"),
        ("sd", "unet/config.json", {"in_channels": 9}, "takes 9: an inpainting, editing or upscaling model"),
        ("sd", "unet/config.json", {"addition_embed_type": "text_image"}, "conditioned on text_image as well"),
        ("sd", "unet/config.json", {"class_embed_type": "projection"}, "conditioned on projection as well"),
        ("sdxl", "model_index.json", {"requires_aesthetics_score": True}, "is an SDXL refiner"),
    ],
)
def test_model_that_is_no_base_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, family: str, file: str, change: dict[str, Any], line: str
) -> None:
    other = shutil.copytree(folders[family], tmp_path / "other")
    config = json.loads((other / file).read_text()) if (other / file).exists() else {}
    (other / file).write_text(json.dumps({**config, **change}))
    # Refused before anything large is read.
    for network in other.rglob("*.safetensors"):
        network.unlink()
    with pytest.raises(RequestError, match=line) as refusal:
        load_base(str(other))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_base_that_lacks_a_tensor_is_refused(folders: dict[str, Path], tmp_path: Path, part: str) -> None:
    other = shutil.copytree(folders["sdxl"], tmp_path / "other")
    [file] = (other / part).glob("*.safetensors")
    tensors = load_file(file)
    lost = sorted(tensors)[-1]
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(RequestError, match=f"is incomplete: {part} has no {lost.replace('text_model.', '')}"):
        load_base(str(other))


@pytest.mark.parametrize("name", ["miny", "models/sd15.safetensors", "/nowhere/sd15", "./runs/base", "a/b/c"])
def test_what_is_no_hub_id_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(
        RequestError, match=f"^--base {name}: there is no such base, folder or file; give mini, tiny, "
    ):
        load_base(name)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tokenizer.json", "no vocabulary in tokenizer"),
        ("tokenizer_config.json", "no model_max_length in tokenizer/"),
    ],
)
def test_a_base_without_its_tokenizer_is_refused(
    file: str, said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "base")
    (folder / "tokenizer" / file).unlink()
    with pytest.raises(RequestError, match=said):
        load_base(str(folder))


def test_a_damaged_tokenizer_is_said_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    """In whichever form it is kept."""
    damaged = shutil.copytree(folders["sd"], tmp_path / "base") / "tokenizer"
    whole = (damaged / "tokenizer.json").read_bytes()
    model = json.loads(whole)["model"]
    (damaged / "tokenizer.json").write_bytes(whole[:400])
    with pytest.raises(RequestError, match=r"its tokenizer is damaged .*; restore the files in it"):
        load_base(str(damaged.parent))
    (damaged / "tokenizer.json").unlink()
    (damaged / "vocab.json").write_text(json.dumps(model["vocab"]))
    (damaged / "merges.txt").write_text("#version: 0.2\none two three four\n")
    with pytest.raises(RequestError, match=r"its tokenizer is damaged .*; restore the files in it"):
        load_base(str(damaged.parent))


def test_weights_that_are_pickles_are_refused_with_a_way_out(folders: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders["sd"], tmp_path / "other")
    (other / "unet" / "diffusion_pytorch_model.safetensors").rename(other / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(
        RequestError, match=r"unet has its weights in diffusion_pytorch_model.bin alone.*save_pretr"
    ):
        load_base(str(other))
