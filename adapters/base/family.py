"""Which models can be a base, read from their small JSON files: a refusal must not cost gigabytes of download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2i_shards.adapters.base.diffusion import PREDICTIONS
from t2i_shards.adapters.options import Family
from t2i_shards.pipeline.errors import RequestError

SCHEDULERS = {
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DEISMultistepScheduler", "LCMScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "UniPCMultistepScheduler", "TCDScheduler"),
    *("DDIMParallelScheduler", "DDPMParallelScheduler"),
}
"""Samplers of models that were trained at many timesteps with given betas."""
FACTOR = 8
"""Pixels per side of a latent's cell, of all Stable Diffusions."""

Config = Mapping[str, Any]


def check_scheduler(name: str, config: Config) -> None:
    """RequestError unless the model was trained on a schedule of betas, and predicts what `Diffusion` knows."""
    sampler = config.get("_class_name", "DDPMScheduler")
    if sampler not in SCHEDULERS or config.get("use_flow_sigmas"):
        kind = f"{sampler} with use_flow_sigmas" if sampler in SCHEDULERS else sampler
        raise RequestError(
            "--base must be trained on a noise schedule of betas, as Stable Diffusion is, and the scheduler of "
            f"{name} is {kind}"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise RequestError(
            f"--base must predict the noise or the velocity ({', '.join(PREDICTIONS)}), and {name} predicts "
            f"{prediction}"
        )
    if config.get("trained_betas") is None:
        for key in ("beta_start", "beta_end", "beta_schedule"):
            if config.get(key) is None:
                raise RequestError(
                    f"--base must state its noise schedule, and scheduler_config.json of {name} has no {key}"
                )
    if prediction == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise RequestError(
            f"--base that predicts the noise must leave some picture in its last step, and {name} has a schedule "
            "rescaled to zero terminal SNR (rescale_betas_zero_snr)"
        )


def check_autoencoder(name: str, config: Config) -> None:
    """RequestError for latents that are not scaled by one factor, or cells that are not of 8x8 pixels."""
    for key in ("latents_mean", "latents_std", "shift_factor"):
        if config.get(key):
            raise RequestError(
                f"--base must scale its latents by one factor, and the autoencoder of {name} has {key} as well"
            )
    factor = 2 ** (len(config.get("block_out_channels", ())) - 1)
    if factor != FACTOR:
        raise RequestError(
            f"--base must have an autoencoder of {FACTOR}x{FACTOR} pixels a cell, and that of {name} has "
            f"{factor:g}x{factor:g}"
        )


def find_family(name: str, unet: Config, index: Config, vae: Config) -> Family:
    """RequestError for a model whose UNet needs what neither family has."""
    families: dict[str | None, Family] = {None: "sd", "text_time": "sdxl"}
    extra = unet.get("addition_embed_type")
    channels, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latents:
        raise RequestError(
            f"--base must take latents of {latents} channels and nothing else, "
            f"and {name} takes {channels}: an inpainting, editing or upscaling model"
        )
    if index.get("requires_aesthetics_score"):
        raise RequestError(f"--base must be an SDXL that starts from noise, and {name} is an SDXL refiner")
    unknown = next((unet[key] for key in ("class_embed_type", "encoder_hid_dim_type") if unet.get(key)), None)
    if extra not in families or unknown:
        raise RequestError(
            f"--base must be of the Stable Diffusion 1.x, 2.x or SDXL family, and the UNet of {name} "
            f"is conditioned on {unknown or extra} as well"
        )
    return families[extra]
