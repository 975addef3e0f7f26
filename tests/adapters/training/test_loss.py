from __future__ import annotations

from dataclasses import replace

import torch

from t2i_shards.adapters.base import Base, StableDiffusion
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.training.batch import Batch, scale_pictures, stack_examples
from t2i_shards.adapters.training.config import Schedule
from t2i_shards.adapters.training.example import CropConfig, make_example
from t2i_shards.adapters.training.loss import Objective
from tests.adapters.toys import toy_sample


def make_objective(base: Base, schedule: Schedule = "cubic") -> Objective:
    return Objective(base, "sketch", schedule, "fp32", base.embed)


def make_batch() -> Batch:
    return stack_examples([make_example(toy_sample(i), CropConfig("sketch", 64), 0, "0") for i in range(2)])


def test_gradients_reach_the_whole_adapter_and_nothing_else(tiny: Base) -> None:
    batch = make_batch()
    adapter = make_adapter(adapter_config_for("base", 1, tiny.widths), seed=0)
    objective = make_objective(tiny)
    objective.loss(adapter, objective.add_noise(batch)).backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    for network in tiny.networks.values():
        assert all(parameter.grad is None for parameter in network.parameters())


def test_noise_is_added_by_the_bases_own_schedule(tiny: StableDiffusion) -> None:
    batch = make_batch()
    noisy = make_objective(tiny, "uniform").add_noise(batch)
    assert noisy.timesteps.tolist() == (batch.u * 1000).long().tolist()
    kept = tiny.scheduler.alphas_cumprod[noisy.timesteps].view(-1, 1, 1, 1)
    clean = tiny.vae.encode(scale_pictures(batch.pictures)).latent_dist.mean
    expected = kept.sqrt() * clean + (1 - kept).sqrt() * batch.noises
    torch.testing.assert_close(noisy.latents, expected, atol=1e-4, rtol=1e-4)
    assert not noisy.latents.requires_grad


def test_a_weighted_loss_counts_each_error_by_its_time_step(tiny: StableDiffusion) -> None:
    batch = make_batch()
    plain = make_objective(tiny)
    noisy = replace(plain.add_noise(batch), timesteps=torch.tensor([100, 900]))
    adapter = make_adapter(adapter_config_for("base", 1, tiny.widths), seed=0)
    with torch.no_grad():
        features, shape = adapter(noisy.conditions), (64, 64)
        predicted = tiny.denoise(noisy.latents, noisy.timesteps, noisy.prompt_embeds, features, shape)
        errors = (predicted - noisy.target).square().mean(dim=(1, 2, 3))
        weights = tiny.loss_weights[noisy.timesteps] / tiny.loss_weights.mean()
        weighted = replace(plain, weighting="snr").loss(adapter, noisy)
        torch.testing.assert_close(weighted, (weights * errors).mean())
        torch.testing.assert_close(plain.loss(adapter, noisy), errors.mean())
    assert weights[1] > 2 * weights[0]
