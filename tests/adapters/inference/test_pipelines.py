"""What is exported runs in diffusers' own pipelines, and the UNet is given there what it is given here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
)

from t2i_shards.adapters.base import StableDiffusion, concat_embeds
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import generate
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.adapters.options import AdapterName, SamplerName

CAPTION = "a red cube"
SIZE = (128, 192)  # height, width

CASES = pytest.mark.parametrize(
    ("family", "size"), [("sd", "base"), ("sd", "small"), ("sd", "tiny"), ("sdxl", "xl")]
)


@pytest.fixture
def bases(tiny: StableDiffusion, tiny_xl: StableDiffusion) -> dict[str, StableDiffusion]:
    return {"sd": tiny, "sdxl": tiny_xl}


def _pipeline(kind: Any, base: StableDiffusion, **more: Any) -> Any:
    parts: dict[str, Any] = {**base.networks, "tokenizer": base.tokenizers[0], **more}
    parts["scheduler"] = DDIMScheduler.from_config(base.scheduler.config)
    if base.family == "sdxl":
        parts["tokenizer_2"] = base.tokenizers[1]
    else:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = kind(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _with_adapter(base: StableDiffusion, adapter: Adapter, folder: Path) -> Any:
    save_adapter(adapter, folder)
    theirs, report = T2IAdapter.from_pretrained(folder, output_loading_info=True)
    assert {kind: list(names) for kind, names in report.items() if names} == {}
    kinds = {"sd": StableDiffusionAdapterPipeline, "sdxl": StableDiffusionXLAdapterPipeline}
    return _pipeline(kinds[base.family], base, adapter=theirs)


def _noise() -> torch.Tensor:
    return torch.randn(1, 4, SIZE[0] // 8, SIZE[1] // 8, generator=torch.Generator().manual_seed(5))


def _run(pipeline: Any, **more: Any) -> torch.Tensor:
    """The latents after two steps."""
    height, width = SIZE
    settings = {"num_inference_steps": 2, "height": height, "width": width, "output_type": "latent", **more}
    latents: torch.Tensor = pipeline(CAPTION, latents=_noise(), guidance_scale=5.0, **settings).images
    return latents


@contextmanager
def _watched(unet: Any) -> Iterator[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Latents, time and predicted noise of every call."""
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def see(_: Any, given: Any, made: Any) -> None:
        calls.append((given[0].clone(), given[1].clone(), made[0].clone()))

    handle = unet.register_forward_hook(see)
    try:
        yield calls
    finally:
        handle.remove()


def _felt(base: StableDiffusion, size: AdapterName) -> tuple[Adapter, torch.Tensor]:
    """An adapter and a condition for it."""
    adapter = make_adapter(adapter_config_for(size, 1, base.widths), seed=0).requires_grad_(False)
    return adapter, (torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(1)) > 0.5).float()


@CASES
def test_the_unet_is_given_what_diffusers_gives_it(
    bases: dict[str, StableDiffusion], tmp_path: Path, family: str, size: AdapterName
) -> None:
    base = bases[family]
    adapter, condition = _felt(base, size)
    pipeline = _with_adapter(base, adapter, tmp_path)
    with _watched(base.unet) as calls:
        _run(pipeline, image=condition, adapter_conditioning_scale=0.75)
    assert len(calls) == 2
    prompt_embeds = concat_embeds([base.negative(1), base.embed([CAPTION])])
    features = [torch.cat([feature * 0.75] * 2) for feature in adapter(condition)]
    for latents, timestep, noise in calls:
        with torch.no_grad():
            ours = base.denoise(latents, timestep, prompt_embeds, features, SIZE)
            without = base.denoise(latents, timestep, prompt_embeds, None, SIZE)
        torch.testing.assert_close(ours, noise, rtol=0, atol=1e-5)
        assert not torch.allclose(without, noise, atol=1e-3)


@CASES
def test_scale_zero_is_plain_stable_diffusion(
    bases: dict[str, StableDiffusion], tmp_path: Path, family: str, size: AdapterName
) -> None:
    base = bases[family]
    adapter, condition = _felt(base, size)
    pipeline = _with_adapter(base, adapter, tmp_path)
    off, on = (_run(pipeline, image=condition, adapter_conditioning_scale=scale) for scale in (0.0, 1.0))
    plain = _run(_pipeline({"sd": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}[family], base))
    assert torch.equal(off, plain)
    assert not torch.allclose(on, plain, atol=1e-3)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_captions_are_embedded_as_in_the_pipelines(bases: dict[str, StableDiffusion], family: str) -> None:
    base = bases[family]
    kinds: dict[str, Callable[..., Any]] = {"sd": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}
    pipeline = _pipeline(kinds[family], base)
    settings = {"device": base.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    with torch.no_grad():
        states, negative, *pooled = pipeline.encode_prompt(CAPTION, **settings)
    prompt_embeds, empty = base.embed([CAPTION]), base.negative(1)
    assert torch.equal(prompt_embeds.states, states)
    assert torch.equal(empty.states, negative)
    if pooled:
        assert prompt_embeds.pooled is not None
        assert empty.pooled is not None
        assert torch.equal(prompt_embeds.pooled, pooled[0])
        assert torch.equal(empty.pooled, pooled[1])


@pytest.mark.parametrize("name", ["ddim", "dpm++", "euler"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_each_sampler_paints_what_diffusers_paints_with_it(
    bases: dict[str, StableDiffusion], family: str, name: SamplerName
) -> None:
    base = bases[family]
    kinds = {"sd": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}
    schedulers: dict[SamplerName, Any] = {
        "ddim": DDIMScheduler,
        "dpm++": DPMSolverMultistepScheduler,
        "euler": EulerDiscreteScheduler,
    }
    pipeline = _pipeline(kinds[family], base)
    settings = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
    pipeline.scheduler = schedulers[name].from_config(base.scheduler.config, **settings)
    seed = torch.Generator().manual_seed(5)
    asked = {"num_inference_steps": 5, "height": SIZE[0], "width": SIZE[1], "output_type": "np"}
    theirs = pipeline(CAPTION, generator=seed, guidance_scale=5.0, **asked).images[0] * 255
    ours = generate(base, [], [CAPTION], [5], SIZE, Sampling(steps=5, guidance=5, sampler=name))[0]
    assert np.abs(ours - theirs).max() < 1.01
