from __future__ import annotations

import numpy as np
import pytest
import torch

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.inpaint import Inpainting, prepare_inpainting
from t2i_shards.adapters.inference.sampler import draw_noise, generate

SIZE = 128


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth one with a disc on it."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pixels = np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)
    pixels[(rows - 40) ** 2 + (columns - 40) ** 2 < 20**2] = 250, 200, 30
    return pixels


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """A disc whose edge cuts through the latent's cells."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asarray((rows - 60) ** 2 + (columns - 70) ** 2 < 33**2)


@pytest.fixture(scope="module")
def inpainting(tiny: StableDiffusion, picture: np.ndarray, mask: np.ndarray) -> Inpainting:
    return prepare_inpainting(tiny, picture, mask)


def generate_images(base: StableDiffusion, inpainting: Inpainting | None, seed: int = 0) -> np.ndarray:
    sampling = Sampling(steps=5)
    generated = generate(base, [], ["a red disc"], [seed], (SIZE, SIZE), sampling, inpainting=inpainting)
    return np.asarray(generated[0])


def test_outside_the_mask_the_pixels_are_the_pictures(
    tiny: StableDiffusion, picture: np.ndarray, mask: np.ndarray, inpainting: Inpainting
) -> None:
    generated = generate_images(tiny, inpainting)
    assert np.array_equal(generated[~mask], picture[~mask])
    assert not np.array_equal(generated[mask], picture[mask])
    assert not np.array_equal(generate_images(tiny, inpainting, seed=1)[mask], generated[mask])


def test_every_cell_with_a_pixel_of_the_mask_is_painted_anew(inpainting: Inpainting, mask: np.ndarray) -> None:
    cells = mask.reshape(SIZE // 8, 8, SIZE // 8, 8).any(axis=(1, 3))
    assert np.array_equal(inpainting.hole[0, 0].numpy(), cells)
    assert (mask.reshape(SIZE // 8, 8, SIZE // 8, 8).all(axis=(1, 3)) != cells).any()


def test_a_step_sees_the_picture_at_its_own_noise(
    tiny: StableDiffusion, picture: np.ndarray, inpainting: Inpainting
) -> None:
    """Outside the hole: sqrt(alpha) * picture + sqrt(1 - alpha) * noise, from the base's schedule by hand."""
    noise = draw_noise(tiny, [0, 1], (SIZE, SIZE))
    inside = torch.full_like(noise, 7.0)
    mean, _ = tiny.encode(torch.from_numpy(picture / 127.5 - 1).float().permute(2, 0, 1)[None])
    hole = inpainting.hole.expand_as(noise)
    for timestep in tiny.make_sampler(5).timesteps:
        alpha = tiny.scheduler.alphas_cumprod[timestep]
        by_hand = alpha.sqrt() * tiny.scale(mean) + (1 - alpha).sqrt() * noise
        restored = inpainting.restore(inside, noise, tiny, timestep)
        torch.testing.assert_close(restored[~hole], by_hand[~hole])
        assert (restored[hole] == 7).all()
    clean = inpainting.restore(inside, noise, tiny, None)
    torch.testing.assert_close(clean[~hole], tiny.scale(mean).expand_as(noise)[~hole])


def test_every_step_begins_with_the_picture_restored(
    tiny: StableDiffusion, inpainting: Inpainting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the UNet is given outside the hole follows from picture, seed and time, never from its own work."""
    seen: list[torch.Tensor] = []
    denoise = StableDiffusion.denoise

    def note(
        self: StableDiffusion, latents: torch.Tensor, timesteps: torch.Tensor, *others: object
    ) -> torch.Tensor:
        seen.append(latents[-1])
        return denoise(self, latents, timesteps, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(StableDiffusion, "denoise", note)
    generate_images(tiny, inpainting)
    noise = draw_noise(tiny, [0], (SIZE, SIZE))
    outside = ~inpainting.hole[0].expand_as(noise[0])
    for latents, timestep in zip(seen, tiny.make_sampler(5).timesteps, strict=True):
        expected = inpainting.restore(noise, noise, tiny, timestep)[0]
        assert torch.equal(latents[outside], expected[outside])


def test_a_mask_over_everything_is_a_new_picture(tiny: StableDiffusion, picture: np.ndarray) -> None:
    whole = prepare_inpainting(tiny, picture, np.ones((SIZE, SIZE), bool))
    assert np.array_equal(generate_images(tiny, whole), generate_images(tiny, None))


def test_an_empty_mask_gives_the_picture_back(tiny: StableDiffusion, picture: np.ndarray) -> None:
    nothing = prepare_inpainting(tiny, picture, np.zeros((SIZE, SIZE), bool))
    assert np.array_equal(generate_images(tiny, nothing), picture)
