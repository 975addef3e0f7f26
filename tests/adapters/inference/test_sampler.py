"""Pictures against the same pictures in other batches, with other settings and by other bases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import draw_noise, generate, sample_pictures
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.compose import AdapterInput, compose
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.inference.toys import CAPTIONS, SD, SEEDS, SIZE, control_images, plain, worst


def test_scale_zero_is_the_base_alone_bit_for_bit(tiny: StableDiffusion, adapter: Adapter) -> None:
    sampling = Sampling(steps=3)
    without = plain(tiny, sampling)
    silent = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, Sampling(steps=3, scale=0))
    weightless = generate(tiny, [AdapterInput(adapter, control_images(), 0.0)], CAPTIONS, SEEDS, SIZE, sampling)
    heard = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling)
    assert np.array_equal(silent, without)
    assert np.array_equal(weightless, without)
    assert worst(heard, without) > 20


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


def test_each_step_is_told_of_as_a_share_of_its_pictures(tiny: StableDiffusion) -> None:
    told = list[float]()
    sampling = Sampling(steps=2, guidance=1)
    generate(tiny, [], ["a disc"] * 3, range(3), SIZE, sampling, batch=2, progress=told.append)
    assert told == pytest.approx([2 / 3, 4 / 3, 2, 2 + 1 / 3, 2 + 2 / 3, 3])  # decoding is the third step


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


def test_each_of_several_adapters_acts_in_its_own_part(
    tiny: StableDiffusion, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are made once for each selection of adapters that act together."""
    made: list[int] = []

    def note(adapter_inputs: Any, scale: float) -> Any:
        made.append(len(adapter_inputs))
        return compose(adapter_inputs, scale)

    monkeypatch.setattr("t2i_shards.adapters.inference.sampler.compose", note)
    first, second = AdapterInput(adapter, control_images(1), 1.5), AdapterInput(adapter, control_images(1) / 2)
    sampling = Sampling(steps=6, guidance=1)

    def paint(*adapter_inputs: AdapterInput, active_steps: str = "all") -> np.ndarray:
        asked = replace(sampling, active_steps=active_steps)
        return generate(tiny, adapter_inputs, ["a disc"], [0], SIZE, asked)

    both = paint(first, replace(second, active_steps="beginning"))
    assert made == [2, 1]
    assert np.array_equal(paint(replace(first, active_steps="all"), second, active_steps="beginning"), both)
    assert not np.array_equal(paint(first, second), both)
    alone = paint(replace(second, active_steps="late"))
    assert np.array_equal(paint(second, active_steps="late"), alone)


def test_in_guess_mode_the_half_without_caption_is_without_features(
    tiny: StableDiffusion, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    denoise = StableDiffusion.denoise

    def note(self: Any, latents: Any, timesteps: Any, prompt_embeds: Any, features: Any, pixels: Any) -> Any:
        given.append(features)
        return denoise(self, latents, timesteps, prompt_embeds, features, pixels)

    monkeypatch.setattr(StableDiffusion, "denoise", note)
    for guess_mode in (False, True):
        sampling = Sampling(steps=1, guess_mode=guess_mode)
        sample_pictures(tiny, adapter, control_images(1), ["a disc"], [0], sampling)
    for both, guessed in zip(*given, strict=True):
        assert both.abs().max() > 0
        assert torch.equal(both[0], both[1])
        assert torch.equal(guessed, torch.stack([torch.zeros_like(both[0]), both[1]]))


def test_guess_mode_needs_guidance() -> None:
    with pytest.raises(RequestError, match="--guess-mode needs a --guidance above 1"):
        Sampling(guidance=1, guess_mode=True)


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
    with pytest.raises(RequestError, match="the picture of seed 11, or of one generated with it, is not finite"):
        plain(tiny, Sampling(steps=1))


def test_an_adapter_for_another_base_is_refused(tiny: StableDiffusion) -> None:
    other = make_adapter(adapter_config_for("tiny", 1, (32, 64, 64, 64)), 0)
    with pytest.raises(RequestError, match="family"):
        sample_pictures(tiny, other, control_images(), CAPTIONS, SEEDS, Sampling(steps=1))
