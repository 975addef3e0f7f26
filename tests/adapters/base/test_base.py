"""What training and sampling ask of a base, which need not be a Stable Diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from t2i_shards.adapters.base import Base, Features, PromptEmbeds, Sampler, StableDiffusion, digest_base, load_base
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import generate, sample_pictures
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.runlog import read_log
from tests.adapters.toys import toy_config, toy_stream
from tests.adapters.training.test_latents import save_base


class Straight:
    """A `Sampler`: Euler's steps along the velocity."""

    def __init__(self, steps: int) -> None:
        self.timesteps = torch.arange(steps, 0, -1) * (1000 // steps) - 1
        self._stride = 1 / steps

    def step(self, predicted: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return latents - self._stride * predicted


@dataclass(frozen=True)
class Flow:
    """The networks of another base as if trained by flow matching: noise comes in along a straight line."""

    of: StableDiffusion

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    @property
    def objective(self) -> dict[str, Any]:
        return {"prediction_type": "flow"}

    def _share(self, timesteps: torch.Tensor) -> torch.Tensor:
        return ((timesteps + 1) / 1000).view(-1, 1, 1, 1)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        share = self._share(timesteps)
        return (1 - share) * latents + share * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def make_sampler(self, steps: int, name: str = "") -> Sampler:
        return Straight(steps)

    def describe_sampler(self) -> dict[str, Any]:
        return {"sampler": "euler"}

    def denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        features: Features | None,
        pixels: tuple[int, int],
    ) -> torch.Tensor:
        return self.of.denoise(latents, timesteps, prompt_embeds, features, pixels)


def trained(base: Base, out: Path) -> np.ndarray:
    """The validation loss falls; a picture by the adapter that was learned, uint8 (64, 64, 3)."""
    config = toy_config(out, steps=12, batch=4, lr=3e-3, validate_every=12, checkpoint_every=12)
    summary = Training(config, toy_stream(), base).run()
    assert summary.last_validation < summary.first_validation
    assert summary.base_digest == digest_base(base)
    control_image = (torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    adapter, sampling = read_adapter(out / "adapter"), Sampling(steps=3)
    pictures = sample_pictures(base, adapter, control_image, ["a disc"], [7], sampling)
    assert not np.array_equal(pictures, generate(base, [], ["a disc"], [7], (128, 128), sampling))
    return pictures


@pytest.fixture(scope="module")
def velocity(tiny: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A folder in diffusers' layout whose scheduler says v_prediction, as that of Stable Diffusion 2.x."""
    folder = tmp_path_factory.mktemp("velocity")
    save_base(tiny, folder)
    changed = DDPMScheduler.from_config(tiny.scheduler.config, prediction_type="v_prediction")
    changed.save_pretrained(folder / "scheduler")
    return load_base(str(folder))


def test_a_base_that_predicts_the_velocity_is_trained_on_and_painted_with(velocity: Base, tmp_path: Path) -> None:
    trained(velocity, tmp_path)
    assert list(read_log(tmp_path / "log.jsonl"))


def test_a_family_of_another_kind_needs_nothing_but_its_own_file(tiny: StableDiffusion, tmp_path: Path) -> None:
    flow: Base = Flow(tiny)
    pictures = trained(flow, tmp_path)
    assert digest_base(flow) != digest_base(tiny)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampler = flow.make_sampler(5)
    latents = noise
    for timestep in sampler.timesteps:
        latents = sampler.step(flow.target(torch.ones_like(noise), noise, timestep), timestep, latents)
    torch.testing.assert_close(latents, torch.ones_like(noise))
    assert pictures.shape == (1, 128, 128, 3)
