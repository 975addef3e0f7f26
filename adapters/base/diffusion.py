"""Gaussian diffusion over a schedule of betas (DDPM, arXiv 2006.11239), sampled by DDIM (arXiv 2010.02502).

Denoisers predict either the noise (epsilon), as Stable Diffusion 1.x and SDXL do, or the velocity (v_prediction,
arXiv 2202.00512, appendix D), as Stable Diffusion 2.x does at 768 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from t2i_shards.adapters.base.base import Sampler

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, DDPMScheduler

PREDICTIONS = ("epsilon", "v_prediction")
DDIM: dict[str, Any] = {
    "clip_sample": False,
    "thresholding": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
"""As the files of Stable Diffusion set it. A base's own file may leave these out, or be for another sampler; what
diffusers then takes suits models of pixels, and clips latents as if they ended at 1."""


GAMMA = 5.0
"""Of min-SNR weighting (Hang et al., arXiv 2303.09556): timesteps with little noise count less."""
COARSE = 0.5
"""Exponent by which timesteps with more noise than signal count more. The layout and the colours of a picture are
decided there, where a large error of the picture is a small error of the noise."""


@dataclass(frozen=True)
class Diffusion:
    """scheduler: the betas, and what the denoiser predicts."""

    scheduler: DDPMScheduler

    @property
    def time_steps(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def loss_weights(self) -> torch.Tensor:
        """float32 (time_steps,): min-SNR, and more for timesteps with more noise than signal.

        That is min(SNR, GAMMA) * max(1, SNR ** -COARSE) of an error of the picture, of which an error of the noise
        is SNR times as large, and one of the velocity SNR + 1 times.
        """
        kept = self.scheduler.alphas_cumprod.double()
        snr = kept / (1 - kept)
        of_picture = torch.where(snr < 1, snr ** (1 - COARSE), snr.clamp(max=GAMMA))
        epsilon = self.scheduler.config.prediction_type == "epsilon"
        weights: torch.Tensor = of_picture / (snr if epsilon else snr + 1)
        return weights.float()

    @property
    def objective(self) -> dict[str, Any]:
        """What differs from predicting the noise under the betas as given."""
        config = self.scheduler.config
        plain = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
        return {key: config[key] for key, value in plain.items() if config[key] != value}

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, timesteps)
        return noisy

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        if self.scheduler.config.prediction_type == "epsilon":
            return noise
        velocity: torch.Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
        return velocity

    def make_sampler(self, steps: int) -> Sampler:
        """Deterministic DDIM."""
        from diffusers import DDIMScheduler

        scheduler: DDIMScheduler = DDIMScheduler.from_config(self.scheduler.config, **self._settings)
        scheduler.set_timesteps(steps)
        return Ddim(scheduler)

    def describe_sampler(self) -> dict[str, Any]:
        """DDIM's settings where the base's file has others or none."""
        from diffusers import DDIMScheduler

        own = DDIMScheduler.from_config(self.scheduler.config).config
        settings = self._settings
        return {} if all(own[name] == value for name, value in settings.items()) else {"ddim": settings}

    @property
    def _settings(self) -> dict[str, Any]:
        # A last timestep that is all noise must be sampled (arXiv 2305.08891, 3.3).
        return {**DDIM, "timestep_spacing": "trailing"} if self.scheduler.config.rescale_betas_zero_snr else DDIM


class Ddim:
    """A `Sampler`. scheduler: with its timesteps set."""

    def __init__(self, scheduler: DDIMScheduler) -> None:
        self._scheduler, self.timesteps = scheduler, scheduler.timesteps

    def step(self, predicted: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        stepped: torch.Tensor = self._scheduler.step(predicted, timestep, latents).prev_sample
        return stepped
