"""Gaussian diffusion over a schedule of betas (DDPM, arXiv 2006.11239), and its samplers.

DDIM (arXiv 2010.02502), DPM-Solver++ (arXiv 2211.01095), and Euler's method as in arXiv 2206.00364.

Denoisers predict either the noise (epsilon), as Stable Diffusion 1.x and SDXL do, or the velocity (v_prediction,
arXiv 2202.00512, appendix D), as Stable Diffusion 2.x does at 768 pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from t2i_shards.adapters.base.base import Sampler
from t2i_shards.adapters.options import SamplerName

if TYPE_CHECKING:
    from diffusers import DDPMScheduler

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
SIGMAS: dict[str, Any] = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "final_sigmas_type": "zero",
}
"""Settings of the other samplers, which a base's own file might change."""
OWN: dict[SamplerName, dict[str, Any]] = {
    "dpm++": {
        "algorithm_type": "dpmsolver++",
        "solver_order": 2,
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "thresholding": False,
        "variance_type": None,
    },
    "euler": {"interpolation_type": "linear", "timestep_type": "discrete", "sigma_min": None, "sigma_max": None},
}

GAMMA = 5.0
"""Of min-SNR weighting (Hang et al., arXiv 2303.09556): timesteps with little noise count less."""
COARSE = 0.5
"""Exponent by which timesteps with more noise than signal count more. The layout and the colours of a picture are
decided there, where a large error of the picture is a small error of the noise."""


class Diffusion:
    """What a `Base` on a schedule of betas inherits. scheduler: the betas, and what the denoiser predicts."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self.scheduler = scheduler

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

    def make_sampler(self, steps: int, name: SamplerName = "ddim") -> Sampler:
        """Deterministic: none of them draws noise."""
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

        kinds: dict[SamplerName, Any] = {
            "ddim": DDIMScheduler,
            "dpm++": DPMSolverMultistepScheduler,
            "euler": EulerDiscreteScheduler,
        }
        spacing = {key: self._settings[key] for key in ("timestep_spacing", "steps_offset")}
        settings = self._settings if name == "ddim" else {**spacing, **SIGMAS, **OWN[name]}
        scheduler = kinds[name].from_config(self.scheduler.config, **settings)
        scheduler.set_timesteps(steps)
        return Euler(scheduler) if name == "euler" else DiffusersSampler(scheduler)

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


class DiffusersSampler:
    """A `Sampler`. scheduler: with its timesteps set."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self.timesteps = scheduler, scheduler.timesteps

    def step(self, predicted: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        stepped: torch.Tensor = self._scheduler.step(predicted, timestep, latents).prev_sample
        return stepped


class Euler:
    """A `Sampler` whose latents have the variance that those of `add_noise` have, as the denoiser is given them.

    Within a step diffusers' scheduler works on latents that are larger by sqrt(1 + sigma^2).
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._taken = scheduler, 0
        self.timesteps = scheduler.timesteps.long()
        self._larger = (1 + scheduler.sigmas.double() ** 2).sqrt().tolist()

    def step(self, predicted: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        before, after = self._larger[self._taken : self._taken + 2]
        own, larger = self._scheduler.timesteps[self._taken], latents * before
        self._scheduler.scale_model_input(larger, own)  # which it wants to have been asked for
        stepped: torch.Tensor = self._scheduler.step(predicted, own, larger).prev_sample / after
        self._taken += 1
        return stepped
