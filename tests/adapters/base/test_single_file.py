"""Bases in one file: the same base, bit for bit, as in diffusers' layout."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.base import StableDiffusion, digest_base, load_base
from t2i_shards.adapters.base.load import freeze_to
from t2i_shards.adapters.base.single_file import FIRST
from t2i_shards.adapters.base.tiny import SIZE_WIDTH
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.base.test_load import save_base

Tensors = dict[str, torch.Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _original_unet_name(name: str, attends: bool) -> str:
    """Of two layers in a block. attends: whether the block that it is in has attention."""
    known = DIFFUSERS_TO_LDM_MAPPING["unet"]
    for table in (known["layers"], known["addition_embed_type"]):
        if name in table:
            return str(table[name])
    side, *numbers = re.findall(r"^\w+_block|\d+", name)
    if side == "mid_block":
        place = f"middle_block.{1 if 'attentions' in name else 2 * int(numbers[0])}"
        inner = name.split(".", 3)[3]
    else:
        block, layer = int(numbers[0]), int(numbers[1])
        inner = name.split(".", 4)[4]
        if "downsamplers" in name:
            return f"input_blocks.{3 * (block + 1)}.0.{inner.replace('conv', 'op')}"
        if "upsamplers" in name:
            return f"output_blocks.{3 * block + 2}.{1 + attends}.{inner}"
        start = (
            f"input_blocks.{3 * block + layer + 1}"
            if side == "down_block"
            else f"output_blocks.{3 * block + layer}"
        )
        place = f"{start}.{1 if 'attentions' in name else 0}"
    if "resnets" in name:
        part, rest = inner.split(".", 1)
        inner = f"{RESNET[part]}.{rest}"
    return f"{place}.{inner}"


def _original_unet(unet: UNet2DConditionModel) -> Tensors:
    state = unet.state_dict()
    attending = {".".join(name.split(".")[:2]) for name in state if ".attentions." in name}
    names = {name: _original_unet_name(name, ".".join(name.split(".")[:2]) in attending) for name in state}
    return {f"model.diffusion_model.{names[name]}": tensor for name, tensor in state.items()}


def _original_vae(state: Tensors) -> Tensors:
    original = {}
    for name, tensor in state.items():
        new = str(DIFFUSERS_TO_LDM_MAPPING["vae"].get(name, name))
        new = re.sub(
            r"up_blocks\.(\d)", lambda found: f"up.{3 - int(found[1])}", new.replace("down_blocks", "down")
        )
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new)
        new = re.sub(r"(down|up)samplers\.0", r"\1sample", new.replace(".resnets.", ".block."))
        new = new.replace("conv_shortcut", "nin_shortcut")
        if "attentions" in new:
            start, inner = new.split("mid_block.attentions.0.")
            part, kind = inner.rsplit(".", 1)
            new = f"{start}mid.attn_1.{ATTENTION[part]}.{kind}"
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        original[f"first_stage_model.{new}"] = tensor
    return original


def _original_open_clip(state: Tensors) -> Tensors:
    """Of SDXL's second text encoder."""
    original = {"text_projection": state["text_projection.weight"].T}
    for name, tensor in state.items():
        new = name.removeprefix("text_model.").replace("encoder.layers", "transformer.resblocks")
        new = new.replace("embeddings.position_embedding.weight", "positional_embedding").replace(
            "embeddings.", ""
        )
        for ours, theirs in {
            "final_layer_norm": "ln_final",
            "layer_norm": "ln_",
            "fc1": "c_fc",
            "fc2": "c_proj",
        }.items():
            new = new.replace(ours, theirs)
        new = new.replace("self_attn", "attn")
        if "q_proj" in new:
            three = [state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            original[new.replace("q_proj.", "in_proj_")] = torch.cat(three)
        elif not re.search(r"[kv]_proj|text_projection", new):
            original[new] = tensor
    return {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in original.items()}


def _write(base: StableDiffusion, file: Path) -> Path:
    first = "cond_stage_model" if base.family == "sd" else "conditioner.embedders.0"
    text = {f"text_model.{name}": tensor for name, tensor in base.text_encoders[0].state_dict().items()}
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors = {f"{first}.transformer.{name}": tensor for name, tensor in text.items()}
    tensors |= {
        "alphas_cumprod": torch.ones(1000),
        **_original_unet(base.unet),
        **_original_vae(base.vae.state_dict()),
    }
    if base.family == "sdxl":
        tensors |= _original_open_clip(base.text_encoders[1].state_dict())  # type: ignore[misc]  # SDXL has two
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    return file


def _save_bare(base: StableDiffusion, folder: Path) -> Path:
    """A single file, and beside it configurations and tokenizers alone."""
    save_base(base, folder)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    (folder / "model_index.json").write_text("{}")
    return _write(base, folder / "model.safetensors")


@pytest.fixture(scope="module")
def file(tiny: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_bare(tiny, tmp_path_factory.mktemp("base"))


def test_it_is_the_same_base(tiny: StableDiffusion, file: Path) -> None:
    read = load_base(str(file))
    assert digest_base(read) == digest_base(tiny)
    assert torch.equal(read.tokenize(["a red cube"]), tiny.tokenize(["a red cube"]))


def test_an_sdxl_is_the_same_base(tiny_xl: StableDiffusion, tmp_path: Path) -> None:
    """Its encoders are told apart by their widths, which are the same in the tiny one."""
    first, second = tiny_xl.text_encoders  # type: ignore[misc]  # SDXL has two
    sizes = {"hidden_size": 40, "projection_dim": 40}
    wide = {"cross_attention_dim": 32 + 40, "projection_class_embeddings_input_dim": 40 + 6 * SIZE_WIDTH}
    base = replace(
        tiny_xl,
        text_encoders=(first, type(second)(type(second.config)(**{**second.config.to_dict(), **sizes}))),
        unet=UNet2DConditionModel.from_config({**tiny_xl.unet.config, **wide}),
    )
    freeze_to(base, "cpu", torch.float32)
    assert digest_base(load_base(str(_save_bare(base, tmp_path)))) == digest_base(base)


def test_a_stable_diffusion_2_is_the_same_base(tiny: StableDiffusion, file: Path, tmp_path: Path) -> None:
    """Its text encoder is stored as OpenCLIP's."""
    folder = shutil.copytree(file.parent, tmp_path / "base")
    text = tiny.text_encoders[0].state_dict()
    text["text_projection.weight"] = torch.eye(len(text["final_layer_norm.bias"]))
    tensors = {name: tensor for name, tensor in load_file(file).items() if "cond_stage_model" not in name}
    for name, tensor in _original_open_clip(text).items():
        tensors[name.replace("conditioner.embedders.1", "cond_stage_model")] = tensor.contiguous().clone()
    save_file(tensors, folder / "model.safetensors")
    assert digest_base(load_base(str(folder / "model.safetensors"))) == digest_base(tiny)


def test_what_is_stored_as_half_is_read_as_float32(tiny: StableDiffusion, file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(file.parent, tmp_path / "half")
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, folder / "model.safetensors")
    read = load_base(str(folder / "model.safetensors")).networks["unet"].state_dict()
    for name, parameter in tiny.unet.state_dict().items():
        assert torch.equal(read[name], parameter.half().float())


def test_a_file_that_says_so_predicts_the_velocity(file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(file.parent, tmp_path / "velocity")
    save_file({**load_file(file), "v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, folder / "model.safetensors")
    read = load_base(str(folder / "model.safetensors"))
    assert isinstance(read, StableDiffusion)
    assert read.objective == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (FIRST, f"must be a whole Stable Diffusion in one file, and it has no tensor {FIRST}"),
        ("model.diffusion_model.out.2.bias", "is incomplete: it lacks tensors of the unet"),
        ("first_stage_model.quant_conv.bias", "is incomplete: it lacks tensors of the vae"),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            "is incomplete: it lacks tensors of the text_encoder",
        ),
    ],
)
def test_what_is_incomplete_is_refused(without: str, said: str, file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(file.parent, tmp_path / "base")
    tensors = load_file(file)
    del tensors[without]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(RequestError, match=re.escape(said)):
        load_base(str(folder / "model.safetensors"))


def test_a_file_of_another_model_is_refused_in_plain_words(file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(file.parent, tmp_path / "base")
    save_file({**load_file(file), FIRST: torch.zeros(32, 9, 3, 3)}, folder / "model.safetensors")
    with pytest.raises(RequestError, match=r"cannot be loaded: .*32, 9, 3, 3\]\)$"):
        load_base(str(folder / "model.safetensors"))


def test_without_the_hub_there_is_a_way_out(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(file, tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        RequestError, match=r"of stable-diffusion-v1-5/stable-diffusion-v1-5, .* put it into a folder"
    ):
        load_base(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("base.ckpt", {}, "must be a .safetensors file, a folder in diffusers' layout, or a hub id"),
        ("base.safetensors", {FIRST: torch.ones(1)}, "is neither of Stable Diffusion 1.x nor of SDXL"),
    ],
)
def test_another_file_is_refused(name: str, content: Tensors, said: str, tmp_path: Path) -> None:
    save_file(content, tmp_path / name)
    with pytest.raises(RequestError, match=re.escape(said)):
        load_base(str(tmp_path / name))
