"""Which models are a base, by their JSON files; see test_load.py for whole folders."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import pytest

from t2i_shards.adapters.base.family import SCHEDULERS, check_autoencoder, check_scheduler, find_family
from t2i_shards.pipeline.errors import RequestError

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
VAE = {"latent_channels": 4, "block_out_channels": [128, 256, 512, 512]}


@pytest.mark.parametrize("name", sorted(SCHEDULERS - {"DPMSolverSDEScheduler"}))  # which needs torchsde
def test_the_files_of_all_samplers_with_betas_are_taken(name: str) -> None:
    """They are named as diffusers names them, and written by them."""
    written = json.loads(getattr(diffusers, name).from_config(BETAS).to_json_string())
    assert written["_class_name"] == name
    check_scheduler("m", written)


def test_betas_may_be_listed_one_by_one() -> None:
    check_scheduler("m", {"trained_betas": [0.1, 0.2]})
    with pytest.raises(RequestError, match="m has no beta_start"):
        check_scheduler("m", {"trained_betas": None})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"prediction_type": "v_prediction"}, None),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, None),
        ({"prediction_type": "sample"}, "the noise or the velocity .*, and m predicts sample"),
        ({"prediction_type": "flow_prediction"}, "m predicts flow_prediction"),
        ({"rescale_betas_zero_snr": True}, "m has a schedule rescaled to zero terminal SNR"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "is EDMDPMSolverMultistepScheduler"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "is UniPC.* with use_flow_sigmas"),
    ],
)
def test_what_the_denoiser_predicts_decides(change: dict[str, Any], line: str | None) -> None:
    config = {**BETAS, **change}
    if line is None:
        check_scheduler("m", config)
        return
    with pytest.raises(RequestError, match=line):
        check_scheduler("m", config)


@pytest.mark.parametrize(
    ("unet", "family"),
    [
        ({}, "sd"),
        ({"cross_attention_dim": 1024, "use_linear_projection": True, "class_embed_type": None}, "sd"),
        ({"addition_embed_type": "text_time"}, "sdxl"),
    ],
)
def test_the_family_is_read_from_the_unet(unet: dict[str, Any], family: str) -> None:
    assert find_family("m", {"in_channels": 4, **unet}, {}, VAE) == family


def test_an_autoencoder_is_of_eight_pixels_and_one_factor() -> None:
    check_autoencoder("m", {**VAE, "latents_mean": None, "shift_factor": 0.0})
    with pytest.raises(RequestError, match="that of m has 16x16"):
        check_autoencoder("m", {**VAE, "block_out_channels": [8] * 5})
    with pytest.raises(RequestError, match="has latents_std as well"):
        check_autoencoder("m", {**VAE, "latents_std": [1.0] * 4})
