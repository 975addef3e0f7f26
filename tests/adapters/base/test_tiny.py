"""The tiny bases that tests train on."""

from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.base import StableDiffusion, digest_base, load_base

NAMES = ["tiny", "tiny-xl"]


@pytest.mark.parametrize("name", NAMES)
def test_tiny_base_is_the_same_on_every_call(name: str) -> None:
    state = torch.random.get_rng_state()
    assert digest_base(load_base(name)) == digest_base(load_base(name))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tiny_autoencoder_keeps_the_colour_of_each_cell(tiny: StableDiffusion) -> None:
    cells = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = cells.repeat_interleave(8, 2).repeat_interleave(8, 3)
    latents, _ = tiny.encode(pictures)
    scale = cells.pow(2).mean((2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(latents[:, :3], cells / scale / 2, atol=1e-3, rtol=1e-3)
    decoded = tiny.vae.decode(latents).sample
    torch.testing.assert_close(decoded, pictures / pictures.pow(2).mean((2, 3), keepdim=True).sqrt() / 2)


def test_tiny_autoencoder_sees_an_outline_as_detail(tiny: StableDiffusion) -> None:
    picture = torch.full((1, 3, 64, 64), -0.5)
    picture[:, :, 20:44, 20:44] = 0.5
    detail = tiny.encode(picture)[0][0, 3]
    outline = torch.zeros(8, 8, dtype=torch.bool)
    outline[2:6, 2:6], outline[3:5, 3:5] = True, False
    assert detail[outline].min() > 3 * detail[~outline].abs().max()


@pytest.mark.parametrize("base", NAMES, indirect=True)
def test_tiny_unet_takes_the_latent_for_the_noise(base: StableDiffusion) -> None:
    noise = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        predicted = base.denoise(noise, torch.full((4,), 999), base.embed(["a cube"] * 4), None, (128, 128))
    assert torch.nn.functional.mse_loss(predicted, noise) < 0.15
