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
def steady(tiny: StableDiffusion, picture: np.ndarray, mask: np.ndarray) -> Inpainting:
    return prepare_inpainting(tiny, picture, mask, "steady")


@pytest.fixture(scope="module")
def published(tiny: StableDiffusion, picture: np.ndarray, mask: np.ndarray) -> Inpainting:
    return prepare_inpainting(tiny, picture, mask)


@pytest.fixture(params=["steady", "published"])
def inpainting(request: pytest.FixtureRequest) -> Inpainting:
    found: Inpainting = request.getfixturevalue(request.param)
    return found


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


def test_which_cells_are_repainted(steady: Inpainting, published: Inpainting, mask: np.ndarray) -> None:
    """All that the mask touches, or those of whose four pixels in the middle it covers half or more."""
    cells = mask.reshape(SIZE // 8, 8, SIZE // 8, 8)
    assert np.array_equal(steady.hole[0, 0].numpy(), cells.any(axis=(1, 3)))
    middle = cells[:, 3:5, :, 3:5].mean(axis=(1, 3))
    assert np.array_equal(published.hole[0, 0].numpy(), middle >= 0.5)
    assert published.hole.sum() < steady.hole.sum()


def read_latents(base: StableDiffusion, picture: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return base.encode(torch.from_numpy(picture / 127.5 - 1).float().permute(2, 0, 1)[None])


def follow(base: StableDiffusion, inpainting: Inpainting, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The latents that the UNet is given in each step for two seeds, (2, 4, h, w) each."""
    seen: list[torch.Tensor] = []
    denoise = StableDiffusion.denoise

    def note(
        self: StableDiffusion, latents: torch.Tensor, timesteps: torch.Tensor, *others: object
    ) -> torch.Tensor:
        seen.append(latents)
        return denoise(self, latents, timesteps, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(StableDiffusion, "denoise", note)
    sampling = Sampling(steps=5, guidance=1)
    generate(base, [], ["a disc"] * 2, [0, 1], (SIZE, SIZE), sampling, inpainting=inpainting, batch=2)
    return seen


def test_steady_steps_see_the_picture_under_one_noise(
    tiny: StableDiffusion, picture: np.ndarray, steady: Inpainting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside the hole: sqrt(alpha) * picture + sqrt(1 - alpha) * noise, from the base's schedule by hand."""
    noise, (mean, _) = draw_noise(tiny, [0, 1], (SIZE, SIZE)), read_latents(tiny, picture)
    outside = ~steady.hole.expand_as(noise)
    steps = tiny.make_sampler(5).timesteps
    for latents, timestep in zip(follow(tiny, steady, monkeypatch), steps, strict=True):
        alpha = tiny.scheduler.alphas_cumprod[timestep]
        by_hand = alpha.sqrt() * tiny.scale(mean) + (1 - alpha).sqrt() * noise
        torch.testing.assert_close(latents[outside], by_hand[outside])
    clean = steady.begin(noise, iter(())).finish(torch.full_like(noise, 7.0))
    torch.testing.assert_close(clean[outside], tiny.scale(mean).expand_as(noise)[outside])
    assert (clean[~outside] == 7).all()


def test_published_steps_see_one_sample_of_it_under_fresh_noise(
    tiny: StableDiffusion, picture: np.ndarray, published: Inpainting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture's draws are those of its seed, in order: what it begins with, the posterior's, the steps'."""
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    draws = [
        torch.stack([torch.randn(4, SIZE // 8, SIZE // 8, generator=generator) for generator in generators])
        for _ in range(7)
    ]
    mean, deviation = read_latents(tiny, picture)
    sampled = tiny.scale(mean + deviation * draws[1])
    inside, outside = published.hole.expand_as(sampled), ~published.hole.expand_as(sampled)
    seen, steps = follow(tiny, published, monkeypatch), tiny.make_sampler(5).timesteps
    assert torch.equal(seen[0][inside], draws[0][inside])
    for latents, timestep, noise in zip(seen, steps, draws[2:], strict=True):
        alpha = tiny.scheduler.alphas_cumprod[timestep]
        by_hand = alpha.sqrt() * sampled + (1 - alpha).sqrt() * noise
        torch.testing.assert_close(latents[outside], by_hand[outside])


def test_a_picture_does_not_depend_on_its_neighbours(tiny: StableDiffusion, published: Inpainting) -> None:
    sampling = Sampling(steps=2, guidance=1)
    both, other = (
        generate(tiny, [], ["a disc"] * 2, seeds, (SIZE, SIZE), sampling, inpainting=published, batch=2)
        for seeds in ([3, 4], [5, 4])
    )
    assert np.array_equal(both[1], other[1])
    assert not np.array_equal(both[0], other[0])


def test_a_mask_thinner_than_cells_is_said(
    tiny: StableDiffusion, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    wire = np.zeros((SIZE, SIZE), bool)
    wire[:, 64:66] = True
    assert prepare_inpainting(tiny, picture, wire, "steady").hole.any()
    assert not caplog.records
    assert not prepare_inpainting(tiny, picture, wire).hole.any()
    assert "--mask is thinner than the cells of 8 pixels" in caplog.text


def test_a_mask_over_everything_is_a_new_picture(tiny: StableDiffusion, picture: np.ndarray) -> None:
    whole = prepare_inpainting(tiny, picture, np.ones((SIZE, SIZE), bool))
    assert np.array_equal(generate_images(tiny, whole), generate_images(tiny, None))


def test_an_empty_mask_gives_the_picture_back(tiny: StableDiffusion, picture: np.ndarray) -> None:
    nothing = prepare_inpainting(tiny, picture, np.zeros((SIZE, SIZE), bool))
    assert np.array_equal(generate_images(tiny, nothing), picture)
