"""The arithmetic of noise, against its formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.base.diffusion import Diffusion
from t2i_shards.adapters.options import SamplerName

ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


def make_diffusion(tiny: StableDiffusion, change: dict[str, Any]) -> Diffusion:
    # Of what a config notes as a default, from_config takes the default.
    known = {name: value for name, value in tiny.scheduler.config.items() if not name.startswith("_")}
    return Diffusion(DDPMScheduler.from_config({**known, **change}))


def draw(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_what_is_added_and_what_is_to_be_predicted(tiny: StableDiffusion, prediction: str) -> None:
    diffusion = make_diffusion(tiny, {"prediction_type": prediction})
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    timesteps = torch.tensor([0, 500, 999])
    kept = (1 - betas).cumprod(0)[timesteps].view(-1, 1, 1, 1)
    latents, noise = draw(0), draw(1)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    torch.testing.assert_close(diffusion.add_noise(latents, noise, timesteps).double(), noisy, rtol=0, atol=1e-5)
    target = noise.double() if prediction == "epsilon" else velocity
    torch.testing.assert_close(diffusion.target(latents, noise, timesteps).double(), target, rtol=0, atol=1e-5)


def test_loss_weights_are_min_snr_and_more_where_noise_exceeds_signal(tiny: StableDiffusion) -> None:
    weights = make_diffusion(tiny, {}).loss_weights.double()
    kept = tiny.scheduler.alphas_cumprod.double()
    snr = kept / (1 - kept)
    clear, noisy = snr >= 1, snr < 1
    torch.testing.assert_close(weights[clear], (5 / snr[clear]).clamp(max=1), rtol=1e-5, atol=0)
    torch.testing.assert_close(weights[noisy], snr[noisy] ** -0.5, rtol=1e-5, atol=0)


def test_an_error_of_the_picture_counts_alike_whatever_is_predicted(tiny: StableDiffusion) -> None:
    """A wrong picture makes another error of the noise than of the velocity: the weights make up for it."""
    timesteps, latents, noise = torch.arange(1000), draw(0)[:1, :1, :1, :1], draw(1)[:1, :1, :1, :1]
    kept = tiny.scheduler.alphas_cumprod.view(-1, 1, 1, 1)
    wrong = (kept / (1 - kept)).sqrt(), (1 / (1 - kept)).sqrt()
    counted = []
    for prediction, error in zip(("epsilon", "v_prediction"), wrong, strict=True):
        diffusion = make_diffusion(tiny, {"prediction_type": prediction})
        shifted = latents + 0.1
        noisy = diffusion.add_noise(latents, noise, timesteps)
        other = (noisy - kept.sqrt() * shifted) / (1 - kept).sqrt()
        difference = diffusion.target(shifted, other, timesteps) - diffusion.target(latents, noise, timesteps)
        torch.testing.assert_close(difference.abs(), 0.1 * error, rtol=1e-2, atol=1e-5)
        counted.append(diffusion.loss_weights * difference.square().flatten())
    torch.testing.assert_close(*counted, rtol=1e-2, atol=1e-6)


def test_loss_weights_are_finite_at_pure_noise(tiny: StableDiffusion) -> None:
    assert make_diffusion(tiny, ZERO_SNR).loss_weights.isfinite().all()


@pytest.mark.parametrize("change", [{}, {"prediction_type": "v_prediction"}, ZERO_SNR])
@pytest.mark.parametrize("name", ["ddim", "dpm++", "euler"])
@pytest.mark.parametrize("steps", [1, 8, 50])
def test_a_denoiser_that_is_always_right_leads_to_the_latents(
    tiny: StableDiffusion, change: dict[str, Any], steps: int, name: SamplerName
) -> None:
    """Each step of the sampler undoes as much noise as `add_noise` adds between its timesteps."""
    diffusion = make_diffusion(tiny, change)
    latents, noise = draw(0), draw(1)
    sampler = diffusion.make_sampler(steps, name)
    assert len(sampler.timesteps) == steps
    current = diffusion.add_noise(latents, noise, sampler.timesteps[0])
    for timestep in sampler.timesteps:
        torch.testing.assert_close(diffusion.add_noise(latents, noise, timestep), current, rtol=0, atol=1e-3)
        current = sampler.step(diffusion.target(latents, noise, timestep), timestep, current)
    assert (current - latents).abs().mean() < 0.03, "but for the noise of the first timestep"


def test_sampling_begins_where_stable_diffusion_does_and_with_zero_snr_at_pure_noise(
    tiny: StableDiffusion,
) -> None:
    assert tiny.make_sampler(50).timesteps[0] == 981
    zero = make_diffusion(tiny, ZERO_SNR)
    (first, *_) = zero.make_sampler(50).timesteps
    assert first == 999
    noise = draw(1)
    torch.testing.assert_close(zero.add_noise(draw(0), noise, first), noise, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["dpm++", "euler"])
def test_a_sampler_is_the_same_whatever_the_base_says_of_it(tiny: StableDiffusion, name: SamplerName) -> None:
    """A base's own file may be of another sampler."""
    odd = {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++", "timestep_spacing": "linspace"}
    paths = []
    for change in ({**odd, "steps_offset": 0, "solver_order": 3}, {}):
        diffusion = make_diffusion(tiny, change)
        sampler, current = diffusion.make_sampler(6, name), draw(1)
        for timestep in sampler.timesteps:
            current = sampler.step(current.sin(), timestep, current)
        paths.append((sampler.timesteps.tolist(), current))
    assert paths[0][0] == paths[1][0]
    assert torch.equal(paths[0][1], paths[1][1])


def test_what_a_record_of_a_picture_says_about_the_sampler(tiny: StableDiffusion) -> None:
    spacing = {"timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    plain = {**spacing, "thresholding": False}
    assert make_diffusion(tiny, plain).describe_sampler() == {}
    assert make_diffusion(tiny, {**plain, "prediction_type": "v_prediction"}).describe_sampler() == {}
    told = make_diffusion(tiny, {**plain, **ZERO_SNR}).describe_sampler()
    assert told["ddim"]["timestep_spacing"] == "trailing"
