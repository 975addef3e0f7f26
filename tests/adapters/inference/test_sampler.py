"""Pictures against diffusers' own pipelines, and against the same pictures in other batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAdapterPipeline,
    T2IAdapter,
)

from t2i_shards.adapters.base import StableDiffusion, load_base
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import draw_noise, generate, sample_pictures
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.pipeline.errors import RequestError

CAPTIONS = ["a red disc", "two blue cubes"]
SEEDS = [11, 5]
SIZE = (128, 64)  # height, width
SD = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading", "steps_offset": 1}
"""What scheduler_config.json of Stable Diffusion 1.x says that concerns DDIM."""
CLOSE = 1e-5
"""Of pictures in 0..1."""


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    """Large enough to matter: ten times what a new adapter gives."""
    made = make_adapter(adapter_config_for("small", 1, (32, 32, 32, 64)), 0)
    with torch.no_grad():
        for stage in made.body:
            stage.out_conv.weight *= 10  # type: ignore[union-attr, operator]
    return made


def control_images(count: int = 2, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return (torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(1)) > 0.8).float()


def plain(base: StableDiffusion, sampling: Sampling, **options: Any) -> np.ndarray:
    return generate(base, [], CAPTIONS, SEEDS, SIZE, sampling, **options)


def theirs(pipeline: Any, sampling: Sampling, **options: Any) -> np.ndarray:
    """float (N, H, W, 3) in 0..1, of a diffusers pipeline with the same seeds."""
    pipeline.set_progress_bar_config(disable=True)
    pictures: np.ndarray = pipeline(
        CAPTIONS,
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
        **options,
    ).images
    return pictures


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as floats, as diffusers gives them, so that rounding hides no difference."""
    monkeypatch.setattr(
        "t2i_shards.adapters.inference.sampler.to_pixels", lambda p: (p / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    )


def sd_parts(base: StableDiffusion) -> dict[str, Any]:
    return {
        "vae": base.vae,
        "text_encoder": base.text_encoders[0],
        "tokenizer": base.tokenizers[0],
        "unet": base.unet,
        "scheduler": DDIMScheduler.from_config(base.scheduler.config, **SD),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def worst(ours: np.ndarray, others: np.ndarray) -> float:
    assert ours.shape == others.shape
    return float(np.abs(ours.astype(float) - others).max())


def exported(adapter: Adapter, folder: Path) -> T2IAdapter:
    save_adapter(adapter, folder)
    loaded, info = T2IAdapter.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    return loaded


V_PREDICTION = {"prediction_type": "v_prediction"}
ZERO_SNR = {**V_PREDICTION, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("change", [V_PREDICTION, ZERO_SNR])
def test_a_base_that_predicts_the_velocity_paints_as_in_diffusers(
    tiny: StableDiffusion, adapter: Adapter, tmp_path: Path, change: dict[str, Any]
) -> None:
    sampling = Sampling(steps=4)
    base = replace(tiny, scheduler=DDPMScheduler.from_config(tiny.scheduler.config, **change))
    adapter_inputs = {
        **sd_parts(base),
        "scheduler": DDIMScheduler.from_config(tiny.scheduler.config, **{**SD, **change}),
    }
    pipeline = StableDiffusionAdapterPipeline(adapter=exported(adapter, tmp_path), **adapter_inputs)
    other = theirs(pipeline, sampling, image=list(control_images().split(1)))
    ours = sample_pictures(base, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < 3 * CLOSE
    noise = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, noise) > 1000 * CLOSE, "the same networks, taken to predict the noise, paint something else"


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_adapters_it_is_diffusers_own_stable_diffusion(tiny: StableDiffusion, guidance: float) -> None:
    sampling = Sampling(steps=4, guidance=guidance)
    ours = plain(tiny, sampling, batch=2)
    assert worst(ours, theirs(StableDiffusionPipeline(**sd_parts(tiny)), sampling)) < CLOSE


def test_scale_zero_is_the_base_alone_bit_for_bit(tiny: StableDiffusion, adapter: Adapter) -> None:
    sampling = Sampling(steps=3)
    without = plain(tiny, sampling)
    silent = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, Sampling(steps=3, scale=0))
    weightless = generate(tiny, [AdapterInput(adapter, control_images(), 0.0)], CAPTIONS, SEEDS, SIZE, sampling)
    heard = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling)
    assert np.array_equal(silent, without)
    assert np.array_equal(weightless, without)
    assert worst(heard, without) > 20


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_an_exported_adapter_paints_the_same_in_diffusers(
    tiny: StableDiffusion, adapter: Adapter, tmp_path: Path, scale: float
) -> None:
    sampling = Sampling(steps=4, scale=scale)
    pipeline = StableDiffusionAdapterPipeline(adapter=exported(adapter, tmp_path), **sd_parts(tiny))
    other = theirs(pipeline, sampling, image=list(control_images().split(1)), adapter_conditioning_scale=scale)
    ours = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < CLOSE


@pytest.mark.usefixtures("unrounded")
def test_sdxl_paints_the_same_in_diffusers(tmp_path: Path) -> None:
    """With zeros for the empty negative, sizes given, and the adapter in the first steps only, as in diffusers."""
    base = load_base("tiny-xl")
    assert isinstance(base, StableDiffusion)
    adapter = make_adapter(adapter_config_for("xl", 1, base.widths), 0)
    sampling = Sampling(steps=4, active_steps="0-0.5", guidance=5)
    pipeline = StableDiffusionXLAdapterPipeline(
        base.vae,
        *base.text_encoders,
        *base.tokenizers,
        base.unet,
        exported(adapter, tmp_path),
        DDIMScheduler.from_config(base.scheduler.config, **SD),
    )
    sketch = control_images()
    other = theirs(pipeline, sampling, image=list(sketch.split(1)), adapter_conditioning_factor=0.5)
    ours = sample_pictures(base, adapter, sketch, CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < CLOSE
    assert worst(ours, plain(base, sampling, batch=2)) > 100 * CLOSE


@pytest.mark.parametrize("batch", [1, 3])
def test_a_picture_does_not_depend_on_its_neighbours(tiny: StableDiffusion, adapter: Adapter, batch: int) -> None:
    """Alone, in another order, and in a batch that is not full: bit for bit, at a given batch size."""
    sampling = Sampling(steps=2)
    captions, seeds = [*CAPTIONS, "a cat", "", "a dog"], [11, 5, 0, 7, 11]
    maps = control_images(5)
    together = sample_pictures(tiny, adapter, maps, captions, seeds, sampling, batch)
    for place in (4, 1):
        one = slice(place, place + 1)
        alone = sample_pictures(tiny, adapter, maps[one], captions[one], seeds[one], sampling, batch)
        assert np.array_equal(alone[0], together[place])
    assert not np.array_equal(together[0], together[4])


def test_the_last_batch_is_filled_up(
    tiny: StableDiffusion, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The UNet never takes another number of pictures at once, which on some machines would round otherwise."""
    taken: list[int] = []
    denoise = StableDiffusion.denoise

    def note(self: StableDiffusion, latents: torch.Tensor, *others: Any) -> torch.Tensor:
        taken.append(len(latents))
        return denoise(self, latents, *others)

    monkeypatch.setattr(StableDiffusion, "denoise", note)
    sampling = Sampling(steps=1, guidance=1)
    pictures = sample_pictures(tiny, adapter, control_images(5), ["a disc"] * 5, range(5), sampling, batch=3)
    assert len(pictures) == 5
    assert taken == [3, 3]


def test_larger_batches_give_the_same_but_for_rounding(tiny: StableDiffusion, adapter: Adapter) -> None:
    one, two = (
        sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, Sampling(steps=2), batch)
        for batch in (1, 2)
    )
    assert worst(one, two) <= 1


def test_the_adapter_acts_in_its_part_alone(
    tiny: StableDiffusion, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []
    denoise = StableDiffusion.denoise

    def note(
        self: StableDiffusion, latents: Any, timesteps: Any, prompt_embeds: Any, features: Any, pixels: Any
    ) -> torch.Tensor:
        given.append(features is not None)
        return denoise(self, latents, timesteps, prompt_embeds, features, pixels)

    monkeypatch.setattr(StableDiffusion, "denoise", note)
    for active_steps, expected in {
        "beginning": "110000",
        "middle": "001100",
        "late": "000011",
        "all": "111111",
    }.items():
        given.clear()
        sampling = Sampling(steps=6, active_steps=active_steps, guidance=1)
        sample_pictures(tiny, adapter, control_images(1), ["a disc"], [0], sampling)
        assert given == [char == "1" for char in expected]


def test_a_drawing_for_all_is_the_same_as_one_for_each(tiny: StableDiffusion, adapter: Adapter) -> None:
    sampling, one = Sampling(steps=2), control_images(1)
    for_all = generate(tiny, [AdapterInput(adapter, one)], CAPTIONS, SEEDS, SIZE, sampling)
    for_each = generate(tiny, [AdapterInput(adapter, one.repeat(2, 1, 1, 1))], CAPTIONS, SEEDS, SIZE, sampling)
    assert np.array_equal(for_all, for_each)


def test_a_negative_prompt_is_what_guidance_leads_away_from(tiny: StableDiffusion) -> None:
    sampling = Sampling(steps=2)
    assert np.array_equal(plain(tiny, sampling), plain(tiny, sampling, negative=""))
    assert not np.array_equal(plain(tiny, sampling), plain(tiny, sampling, negative="blue"))
    # With equal positive and negative prompts guidance cancels: as without guidance.
    away = generate(tiny, [], CAPTIONS[:1], SEEDS[:1], SIZE, sampling, negative=CAPTIONS[0])
    assert worst(away, generate(tiny, [], CAPTIONS[:1], SEEDS[:1], SIZE, Sampling(steps=2, guidance=1))) <= 1


def test_seeds_draw_what_they_always_draw(tiny: StableDiffusion) -> None:
    noise = draw_noise(tiny, [3, 4], SIZE)
    assert noise.shape == (2, 4, 16, 8)
    assert torch.equal(noise[1], torch.randn((4, 16, 8), generator=torch.Generator().manual_seed(4)))
    state = torch.random.get_rng_state()
    draw_noise(tiny, [3], SIZE)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "file",
    [
        {"_class_name": "DDPMScheduler"},
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "linspace", "steps_offset": 0},
        {
            "_class_name": "DDIMScheduler",
            "clip_sample": True,
            "thresholding": True,
            "timestep_spacing": "trailing",
        },
    ],
)
def test_a_base_whose_file_is_for_another_sampler_is_sampled_as_stable_diffusion(
    tiny: StableDiffusion, file: dict[str, Any]
) -> None:
    betas = {key: tiny.scheduler.config[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    other = replace(tiny, scheduler=DDPMScheduler.from_config({**file, **betas}))
    whole = replace(tiny, scheduler=DDPMScheduler.from_config({**betas, **SD, "thresholding": False}))
    sampling = Sampling(steps=3)
    assert np.array_equal(plain(other, sampling), plain(whole, sampling))
    # What was made before with other settings is not taken for the same picture.
    assert whole.describe_sampler() == {}
    assert other.describe_sampler()["ddim"]["clip_sample"] is False


@pytest.mark.parametrize("where", ["denoise", "decode"])
def test_a_picture_that_is_not_finite_is_refused(
    tiny: StableDiffusion, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(StableDiffusion, where)
    monkeypatch.setattr(StableDiffusion, where, lambda *given: real(*given) * torch.nan)
    with pytest.raises(RequestError, match="the picture of seed 11, or of one painted with it, is not finite"):
        plain(tiny, Sampling(steps=1))


def test_an_adapter_for_another_base_is_refused(tiny: StableDiffusion) -> None:
    other = make_adapter(adapter_config_for("tiny", 1, (32, 64, 64, 64)), 0)
    with pytest.raises(RequestError, match="family"):
        sample_pictures(tiny, other, control_images(), CAPTIONS, SEEDS, Sampling(steps=1))
