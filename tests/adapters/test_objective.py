from __future__ import annotations

import torch

from adapters.adapter import make_adapter
from adapters.base import Base
from adapters.batch import Framing, make_example, stack_examples
from adapters.objective import add_noise, denoising_loss
from adapters.sizes import layout_for
from tests.adapters.toys import toy_sample


def test_gradients_reach_the_whole_adapter_and_nothing_else(tiny: Base) -> None:
    framing = Framing("sketch", 64, tiny.latent_shape(64))
    batch = stack_examples([make_example(toy_sample(i), framing, 0, "0") for i in range(2)], tiny.device)
    adapter = make_adapter(layout_for("base", 1, tiny.widths), seed=0)
    denoising_loss(tiny, adapter, add_noise(tiny, batch, "cubic")).backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    for network in tiny.networks.values():
        assert all(parameter.grad is None for parameter in network.parameters())


def test_noise_is_added_by_the_bases_own_schedule(tiny: Base) -> None:
    framing = Framing("sketch", 64, tiny.latent_shape(64))
    batch = stack_examples([make_example(toy_sample(i), framing, 0, "0") for i in range(2)], tiny.device)
    noisy = add_noise(tiny, batch, "uniform")
    assert noisy.times.tolist() == (batch.times * 1000).long().tolist()
    kept = tiny.scheduler.alphas_cumprod[noisy.times].view(-1, 1, 1, 1)
    clean = tiny.vae.encode(batch.pictures).latent_dist.mean
    expected = kept.sqrt() * clean + (1 - kept).sqrt() * batch.noises
    torch.testing.assert_close(noisy.latents, expected, atol=1e-4, rtol=1e-4)
    assert not noisy.latents.requires_grad
