"""Pictures against diffusers' own pipelines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAdapterPipeline,
)

from t2i_shards.adapters.base import StableDiffusion, load_base
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import sample_pictures
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from tests.adapters.inference.toys import (
    CAPTIONS,
    CLOSE,
    SD,
    SEEDS,
    control_images,
    exported,
    plain,
    sd_parts,
    theirs,
    worst,
)

V_PREDICTION = {"prediction_type": "v_prediction"}
ZERO_SNR = {**V_PREDICTION, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("change", [V_PREDICTION, ZERO_SNR])
def test_a_base_that_predicts_the_velocity_paints_as_in_diffusers(
    tiny: StableDiffusion, adapter: Adapter, tmp_path: Path, change: dict[str, Any]
) -> None:
    sampling = Sampling(steps=4)
    base = replace(tiny, scheduler=DDPMScheduler.from_config(tiny.scheduler.config, **change))
    adapter_inputs = {
        **sd_parts(base),
        "scheduler": DDIMScheduler.from_config(tiny.scheduler.config, **{**SD, **change}),
    }
    pipeline = StableDiffusionAdapterPipeline(adapter=exported(adapter, tmp_path), **adapter_inputs)
    other = theirs(pipeline, sampling, image=list(control_images().split(1)))
    ours = sample_pictures(base, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < 3 * CLOSE
    noise = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, noise) > 1000 * CLOSE, "the same networks, taken to predict the noise, paint something else"


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_adapters_it_is_diffusers_own_stable_diffusion(tiny: StableDiffusion, guidance: float) -> None:
    sampling = Sampling(steps=4, guidance=guidance)
    ours = plain(tiny, sampling, batch=2)
    assert worst(ours, theirs(StableDiffusionPipeline(**sd_parts(tiny)), sampling)) < CLOSE


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("scale", [0.0, 0.8])
def test_an_exported_adapter_paints_the_same_in_diffusers(
    tiny: StableDiffusion, adapter: Adapter, tmp_path: Path, scale: float
) -> None:
    sampling = Sampling(steps=4, scale=scale)
    pipeline = StableDiffusionAdapterPipeline(adapter=exported(adapter, tmp_path), **sd_parts(tiny))
    other = theirs(pipeline, sampling, image=list(control_images().split(1)), adapter_conditioning_scale=scale)
    ours = sample_pictures(tiny, adapter, control_images(), CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < CLOSE


@pytest.mark.usefixtures("unrounded")
def test_sdxl_paints_the_same_in_diffusers(tmp_path: Path) -> None:
    """With zeros for the empty negative, sizes given, and the adapter in the first steps only, as in diffusers."""
    base = load_base("tiny-xl")
    assert isinstance(base, StableDiffusion)
    adapter = make_adapter(adapter_config_for("xl", 1, base.widths), 0)
    sampling = Sampling(steps=4, active_steps="0-0.5", guidance=5)
    pipeline = StableDiffusionXLAdapterPipeline(
        base.vae,
        *base.text_encoders,
        *base.tokenizers,
        base.unet,
        exported(adapter, tmp_path),
        DDIMScheduler.from_config(base.scheduler.config, **SD),
    )
    sketch = control_images()
    other = theirs(pipeline, sampling, image=list(sketch.split(1)), adapter_conditioning_factor=0.5)
    ours = sample_pictures(base, adapter, sketch, CAPTIONS, SEEDS, sampling, batch=2)
    assert worst(ours, other) < CLOSE
    assert worst(ours, plain(base, sampling, batch=2)) > 100 * CLOSE
