"""A ControlNet of diffusers is evaluated as an adapter is; adapters that diffusers made can be, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, T2IAdapter
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.base import Control, StableDiffusion, load_base
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.evaluate import evaluate
from t2i_shards.adapters.evaluation.report import WITH, WITHOUT, table_lines
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import generate, to_pixels
from t2i_shards.adapters.model.controlnet import check_controlnet, read_controlnet
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.evaluation.toys import TOYS, make_root

SIZE = 128


@pytest.fixture(scope="module")
def mini() -> StableDiffusion:
    base = load_base("mini")
    assert isinstance(base, StableDiffusion)
    return base


@pytest.fixture(scope="module")
def folder(mini: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of mini's way down whose last convolutions, which begin as zeros, are not."""
    place = tmp_path_factory.mktemp("controlnet")
    network = ControlNetModel.from_unet(mini.unet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            torch.nn.init.normal_(layer.weight, std=0.1)
        torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.1)
    network.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_root(tmp_path_factory.mktemp("controlnet") / "root")


def ask(root: str, out: Path, **changes: Any) -> EvaluateConfig:
    sampling = Sampling(steps=1, guidance=1)
    return EvaluateConfig(root, "canny", "mini", out=out, samples=2, sampling=sampling, device="cpu", **changes)


@pytest.mark.parametrize(("guidance", "guess_mode"), [(1.0, False), (3.0, False), (3.0, True)])
def test_pictures_are_those_of_diffusers_pipeline(
    mini: StableDiffusion, folder: Path, guidance: float, guess_mode: bool
) -> None:
    network = read_controlnet(folder)
    control_images = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    sampler: Any = mini.make_sampler(3)
    pipeline = StableDiffusionControlNetPipeline(
        vae=mini.vae,
        text_encoder=mini.text_encoders[0],
        tokenizer=mini.tokenizers[0],
        unet=mini.unet,
        controlnet=network,
        scheduler=sampler._scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a red cube",
        image=control_images,
        num_inference_steps=3,
        guidance_scale=guidance,
        controlnet_conditioning_scale=0.7,
        guess_mode=guess_mode,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    ours, without = (
        generate(
            mini,
            [],
            ["a red cube"],
            [5],
            (SIZE, SIZE),
            Sampling(3, guidance, scale=0.7, guess_mode=guess_mode),
            control=control,
        ).astype(int)
        for control in (Control(network, control_images), None)
    )
    assert np.abs(ours - to_pixels(theirs * 2 - 1)).max() <= 1
    assert np.abs(ours - without).max() > 20


@pytest.mark.parametrize("name", ["tiny", "tiny_xl"])
def test_one_that_has_learnt_nothing_changes_nothing(name: str, request: pytest.FixtureRequest) -> None:
    """Of both families; where it has learnt something, SDXL's size and pooled caption reach it as well."""
    base: StableDiffusion = request.getfixturevalue(name)
    network = ControlNetModel.from_unet(base.unet).requires_grad_(False)
    check_controlnet(base, network, "--controlnet X")
    control = Control(network, torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    asked: Any = [base, [], ["a disc"], [5], (SIZE, SIZE), Sampling(1, 1)]
    without = generate(*asked)
    assert np.array_equal(generate(*asked, control=control), without)
    torch.nn.init.normal_(network.controlnet_mid_block.weight, generator=torch.Generator().manual_seed(0))
    assert not np.array_equal(generate(*asked, control=control), without)


def test_a_controlnet_has_the_table_of_an_adapter(root: str, folder: Path, tmp_path: Path) -> None:
    evaluation = evaluate(ask(root, tmp_path, controlnet=folder), networks=TOYS)
    with_, without = (next(row for row in evaluation.rows if row.title == title) for title in (WITH, WITHOUT))
    assert with_.measures["edge_f1"] != without.measures["edge_f1"]
    assert set(with_.record()["intervals"]) == set(without.record()["intervals"]) == {"edge_f1"}
    lines = table_lines(evaluation)
    assert any(line.startswith("| without the ControlNet |") for line in lines)
    assert any(line.startswith(f"- ControlNet {folder} (sha256 ") for line in lines)
    assert "than without the ControlNet (95% interval" in lines[-1]


@pytest.mark.parametrize("kind", ["full_adapter", "light_adapter"])
def test_adapters_that_diffusers_made_are_read(kind: str, mini: StableDiffusion, tmp_path: Path) -> None:
    blocks = 2 if kind == "full_adapter" else 4
    channels = list(mini.widths)[: 4 if kind == "full_adapter" else 3]
    theirs = T2IAdapter(3, channels, blocks, 8, kind)
    theirs.save_pretrained(tmp_path / "adapter")
    seen = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        found = read_adapter(tmp_path / "adapter")(seen)
        for ours, feature in zip(found, theirs(seen), strict=True):
            torch.testing.assert_close(ours, feature)


def change(folder: Path, place: Path, **entries: Any) -> Path:
    """A copy whose config.json says something else."""
    place.mkdir()
    config = json.loads((folder / "config.json").read_text()) | entries
    (place / "config.json").write_text(json.dumps(config))
    weights = "diffusion_pytorch_model.safetensors"
    (place / weights).symlink_to(folder / weights)
    return place


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"_class_name": "T2IAdapter"}, "must be a ControlNetModel, and .* holds a T2IAdapter; use --adapter"),
        ({"_class_name": None}, "holds a model of no class"),
        ({"num_class_embeds": 4}, "is given more \\(num_class_embeds 4\\)"),
        ({"conditioning_embedding_out_channels": [16, 32]}, "8x8 pixels"),
        ({"block_out_channels": [32, 64, 128, 256]}, "cannot be loaded|is incomplete"),
        ({"block_out_channels": "wide"}, "cannot be loaded"),
        ({"conditioning_channels": 4}, "cannot be loaded|is incomplete"),
    ],
)
def test_what_is_no_controlnet_is_refused_in_a_line(
    entries: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        read_controlnet(change(folder, tmp_path / "changed", **entries))
    assert "\n" not in str(refused.value)


def test_folders_without_a_controlnet_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is none at"):
        read_controlnet(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"there is no .*config\.json"):
        read_controlnet(tmp_path)
    cut = change(folder, tmp_path / "cut")
    weights = cut / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(RequestError, match="is incomplete: it has no diffusion_pytorch_model"):
        read_controlnet(cut)
    weights.write_bytes(content[:1000])
    with pytest.raises(RequestError, match="cannot be loaded"):
        read_controlnet(cut)
    weights.write_bytes(content)
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "conv_in.bias"}, weights)
    with pytest.raises(RequestError, match=r"is incomplete: it has no conv_in.bias"):
        read_controlnet(cut)
    broken = ControlNetModel.from_pretrained(folder)
    broken.conv_in.weight.data[0, 0, 0, 0] = torch.nan
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(RequestError, match=r"conv_in.weight holds numbers that are not finite"):
        read_controlnet(tmp_path / "broken")


def test_a_controlnet_of_another_family_is_refused(tiny: StableDiffusion, folder: Path) -> None:
    with pytest.raises(RequestError, match="has block_out_channels"):
        check_controlnet(tiny, read_controlnet(folder), "--controlnet X")


def test_one_of_the_two_is_evaluated(tmp_path: Path) -> None:
    for both in ({}, {"adapter": tmp_path, "controlnet": tmp_path}):
        with pytest.raises(RequestError, match="needs --adapter or --controlnet, and not both"):
            EvaluateConfig("ROOT", "sketch", "mini", **both)


def test_cells_of_a_fixed_size_are_not_enlarged(tmp_path: Path) -> None:
    """Nothing is painted first, which takes hours."""
    with pytest.raises(RequestError, match=r"^--enlarge must be left out for color, .* each 64x64 pixels"):
        EvaluateConfig("ROOT", "color", "mini", tmp_path, enlarge=256)
