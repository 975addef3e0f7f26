from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from t2i_shards.adapters.base import StableDiffusion, concat_embeds, digest_base, digest_networks, load_base
from tests.adapters.base.conftest import save_base

NAMES = ["tiny", "tiny-xl"]
CAPTIONS = ["a person waving beside a red cube", "ein Würfel", "", "x" * 500]


both = pytest.mark.parametrize("base", NAMES, indirect=True)


@both
def test_base_from_a_folder_is_the_base_that_was_saved(base: StableDiffusion, folders: dict[str, Path]) -> None:
    read = load_base(str(folders[base.family]))
    assert read.family == base.family
    assert read.force_zeros_for_empty_prompt == base.force_zeros_for_empty_prompt
    assert digest_base(read) == digest_base(base)
    # Not bit for bit: a product of matrices also rounds by where in memory the weights lie.
    ours, theirs = read.embed(CAPTIONS), base.embed(CAPTIONS)
    torch.testing.assert_close(ours.states, theirs.states)
    torch.testing.assert_close(ours.pooled, theirs.pooled)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_a_base_that_predicts_the_velocity_is_another_one(
    tiny: StableDiffusion, folders: dict[str, Path], tmp_path: Path, zero_snr: bool
) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "base")
    change = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": zero_snr}
    DDPMScheduler.from_config(tiny.scheduler.config, **change).save_pretrained(folder / "scheduler")
    read = load_base(str(folder))
    assert read.objective == {name: value for name, value in change.items() if value}
    assert tiny.objective == {}
    assert digest_base(read) != digest_base(tiny)
    assert digest_networks(read.networks) == digest_networks(tiny.networks) == digest_base(tiny)


@both
def test_nothing_of_the_base_learns(base: StableDiffusion, folders: dict[str, Path]) -> None:
    for each in (base, load_base(str(folders[base.family]))):
        for network in each.networks.values():
            assert not network.training
            assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "tensor",
    [
        lambda base: base.unet.conv_out.bias,
        lambda base: base.vae.encoder.conv_norm_out.weight,
        lambda base: base.text_encoders[0].get_input_embeddings().weight,
        lambda base: base.text_encoders[1].text_projection.weight,
        lambda base: dict(base.text_encoders[0].named_buffers()).popitem()[1],
    ],
)
def test_digest_notices_one_changed_value(
    tiny_xl: StableDiffusion, tensor: Callable[[StableDiffusion], torch.Tensor]
) -> None:
    before, values = digest_base(tiny_xl), tensor(tiny_xl).view(-1)
    kept = values[0].item()
    try:
        values[0] = kept + 1
        changed = digest_base(tiny_xl)
    finally:
        values[0] = kept
    assert changed != before
    assert digest_base(tiny_xl) == before


@both
def test_the_form_of_embeddings_is_that_of_a_caption(base: StableDiffusion) -> None:
    form, made = base.embeds_form, base.embed(["a cube"])
    assert (form.states.shape, form.states.dtype) == (made.states.shape, made.states.dtype)
    assert (form.pooled is None) == (made.pooled is None)
    if form.pooled is not None and made.pooled is not None:
        assert (form.pooled.shape, form.pooled.dtype) == (made.pooled.shape, made.pooled.dtype)


@both
def test_different_captions_have_different_embeddings(base: StableDiffusion) -> None:
    prompt_embeds = base.embed(["a red cube", "a blue cube", "x" * 500])
    assert prompt_embeds.states.shape == (3, 77, base.unet.config.cross_attention_dim)
    assert not torch.equal(prompt_embeds.states[0], prompt_embeds.states[1])
    if prompt_embeds.pooled is not None:
        assert prompt_embeds.pooled.shape == (3, 24)
        assert not torch.equal(prompt_embeds.pooled[0], prompt_embeds.pooled[1])


@both
def test_an_embedding_does_not_depend_on_the_rest_of_its_batch(base: StableDiffusion) -> None:
    alone = concat_embeds([base.embed([caption]) for caption in CAPTIONS])
    together = base.embed(CAPTIONS)
    assert torch.equal(alone.states, together.states)
    if alone.pooled is not None and together.pooled is not None:
        assert torch.equal(alone.pooled, together.pooled)


def test_negative_is_the_empty_caption_for_sd_and_nothing_for_sdxl(
    tiny: StableDiffusion, tiny_xl: StableDiffusion
) -> None:
    assert torch.equal(tiny.negative(2).states, tiny.embed(["", ""]).states)
    nothing = tiny_xl.negative(2)
    assert nothing.states.shape == tiny_xl.embed(["a", "b"]).states.shape
    assert not nothing.states.any()
    assert nothing.pooled is not None
    assert not nothing.pooled.any()


@both
def test_bfloat16_is_another_base_that_predicts_nearly_the_same(base: StableDiffusion) -> None:
    name = "tiny" if base.family == "sd" else "tiny-xl"
    half = load_base(name, dtype=torch.bfloat16)
    assert digest_base(half) != digest_base(base)
    assert {parameter.dtype for n in half.networks.values() for parameter in n.parameters()} == {torch.bfloat16}
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([10, 999])
    with torch.no_grad():
        ours, theirs = (
            each.denoise(latents, timesteps, each.embed(["a", "b"]), None, (128, 128)) for each in (half, base)
        )
    assert ours.dtype == torch.float32
    assert torch.nn.functional.mse_loss(ours, theirs) < 1e-3


def test_autoencoder_stays_in_float32_where_float16_would_overflow() -> None:
    base = load_base("tiny-xl", dtype=torch.float16)
    assert base.vae.dtype == torch.float32
    assert {base.unet.dtype, *(encoder.dtype for encoder in base.text_encoders)} == {torch.float16}


def test_weights_stored_in_half_are_used_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    save_base(load_base("tiny-xl", dtype=torch.bfloat16), tmp_path)
    base = load_base(str(tmp_path))
    assert {parameter.dtype for n in base.networks.values() for parameter in n.parameters()} == {torch.float32}


def test_a_base_that_has_the_fp16_variant_alone_is_the_same_base(
    folders: dict[str, Path], tmp_path: Path, tiny_xl: StableDiffusion
) -> None:
    other = shutil.copytree(folders["sdxl"], tmp_path / "other")
    for file in other.rglob("*.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert digest_base(load_base(str(other))) == digest_base(tiny_xl)


def test_sdxl_gets_the_size_of_the_picture(tiny_xl: StableDiffusion) -> None:
    latents = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    prompt_embeds = tiny_xl.embed(["a cube"])
    with torch.no_grad():
        wide, high, again = (
            tiny_xl.denoise(latents, torch.tensor([500]), prompt_embeds, None, pixels)
            for pixels in ((64, 128), (128, 64), (64, 128))
        )
    assert torch.equal(wide, again)
    assert not torch.equal(wide, high)


@both
def test_features_are_added_and_left_as_they_were(base: StableDiffusion) -> None:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    sides = (8, 8, 4, 4) if base.family == "sdxl" else (16, 8, 4, 2)
    widths = (*base.widths, base.widths[-1])[:4]
    prompt_embeds, timesteps = base.embed(["a", "b"]), torch.tensor([10, 999])
    with torch.no_grad():
        plain = base.denoise(latents, timesteps, prompt_embeds, None, (128, 128))
        for stage in range(4):
            features = [
                torch.full((2, width, side, side), float(place == stage))
                for place, (width, side) in enumerate(zip(widths, sides, strict=True))
            ]
            kept = [feature.clone() for feature in features]
            helped = base.denoise(latents, timesteps, prompt_embeds, features, (128, 128))
            assert not torch.equal(helped, plain), stage
            assert len(features) == 4
            assert all(torch.equal(one, other) for one, other in zip(features, kept, strict=True))


def test_encode_and_decode_are_the_autoencoders_own(tiny: StableDiffusion) -> None:
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = tiny.encode(pictures)
    posterior = tiny.vae.encode(pictures).latent_dist
    assert torch.equal(mean, posterior.mean)
    assert torch.equal(std, posterior.std)
    scale = tiny.vae.config.scaling_factor
    try:
        tiny.vae.register_to_config(scaling_factor=0.5)
        assert torch.equal(tiny.scale(mean), mean / 2)
        assert torch.equal(tiny.decode(tiny.scale(mean)), tiny.vae.decode(mean).sample.clamp(-1, 1))
    finally:
        tiny.vae.register_to_config(scaling_factor=scale)
