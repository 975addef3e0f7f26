"""The base that ships: its files are those of SHA256SUMS, diffusers loads it, a seed gives one picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i_shards.adapters.base import Base, load_base
from t2i_shards.adapters.base.mini import FOLDER, find_mini, read_recipe, read_sums
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import generate
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.pipeline.errors import RequestError

CAPTIONS = ["a red cube on the grass under a clear blue sky", "a person waving on the snow"]
FEW = Sampling(steps=3, guidance=3.0)


@pytest.fixture(scope="module")
def mini() -> Base:
    return load_base("mini")


def test_all_that_ships_is_listed_and_small() -> None:
    shipped = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    code = {name for name in shipped if name.endswith((".py", ".pyc"))}
    assert shipped - code == {*read_sums(), "SHA256SUMS"}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) < 25e6
    assert read_recipe()["parts"]


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"])
def test_a_file_is_opened_only_if_it_is_the_one_that_was_shipped(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "mini"
    shutil.copytree(FOLDER, copy)
    assert find_mini(copy) == copy
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(RequestError, match="is damaged"):
        find_mini(copy)
    (copy / name).unlink()
    with pytest.raises(RequestError, match="is missing"):
        find_mini(copy)


def test_a_seed_and_a_caption_give_one_picture(mini: Base) -> None:
    ours = generate(mini, (), CAPTIONS, (1, 1), (128, 128), FEW)
    assert np.array_equal(ours, generate(load_base("mini"), (), CAPTIONS, (1, 1), (128, 128), FEW))
    assert not np.array_equal(ours[0], ours[1])
    assert not np.array_equal(ours[:1], generate(mini, (), CAPTIONS[:1], (2,), (128, 128), FEW))


def test_diffusers_paints_the_same_with_the_same_weights(mini: Base) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(find_mini(), safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=False)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        CAPTIONS[0],
        height=128,
        width=128,
        num_inference_steps=FEW.steps,
        guidance_scale=FEW.guidance,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images[0]
    (ours,) = generate(mini, (), CAPTIONS[:1], (1,), (128, 128), FEW)
    assert np.abs(ours - 255 * theirs).max() < 2


def test_an_adapter_fits_at_its_four_scales(mini: Base) -> None:
    assert mini.family == "sd"
    adapter = Adapter(adapter_config_for("tiny", 1, mini.widths))
    features = adapter(torch.rand(1, 1, 128, 128))
    assert [feature.shape[2] for feature in features] == [16, 8, 4, 2]
    latents, prompt_embeds = torch.randn(1, *mini.latent_shape(128)), mini.embed(CAPTIONS[:1])
    helped, alone = (
        mini.denoise(latents, torch.tensor(500), prompt_embeds, f, (128, 128)) for f in (features, None)
    )
    assert helped.shape == latents.shape
    assert not torch.equal(helped, alone)
