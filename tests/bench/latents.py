"""A training step that reads latents against our own that encodes its pictures.

The base has SD 1.5's shape at a quarter of its widths, and random weights; its autoencoder has about the share of
a step's time that it has at full width. Against diffusers' step it is measured by tests/bench/training.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.base.tiny import build_tokenizer, byte_vocabulary
from t2i_shards.adapters.training.batch import scale_pictures
from t2i_shards.adapters.training.loader import MicroBatches, load_batches
from t2i_shards.adapters.training.step import Step
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.extractors.networks.vae import SHAPE, VaeEncoder
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from tests.adapters.toys import MemoryStream, toy_config, toy_sample
from tests.bench.measure import Row, in_turns, timed

SIZE, BATCH, STEPS, SAMPLES = 256, 2, 2, 8


def bench(folder: Path) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    base = random_base(4)
    samples = [with_latent(toy_sample(index, SIZE), base) for index in range(SAMPLES)]

    def steps(name: str, latents: str | None, texts: bool = False) -> Callable[[], float]:
        cache = folder / "texts" if texts else None
        config = toy_config(
            folder / name, adapter="base", batch=BATCH, validation=1, latents=latents, text_cache=cache
        )
        training = Training(config, MemoryStream(samples), base)
        step = Step(training.objective, training.adapter, config.optimizer, training.rank_batch, training.world)
        micro = MicroBatches(training.stream, training.crop_config, 0, training.rank_batch, 0)
        batches = load_batches(micro, 0, training.world)

        def run() -> int:
            for _ in range(STEPS):
                step(batches)
            return 60 * STEPS

        return lambda: timed(run)

    pictures = steps("pictures", None)
    rows = [
        in_turns("step: latents / pictures", "steps/min", "", steps("latents", "latents"), pictures),
        in_turns(
            "step: latents and text cache / pictures",
            "steps/min",
            "",
            steps("both", "latents", True),
            pictures,
        ),
    ]
    torch.set_num_threads(threads)
    return rows


def random_base(parts: int) -> StableDiffusion:
    """SD 1.5's shape, every width divided by `parts`; text of one token per byte."""
    torch.manual_seed(0)
    end = byte_vocabulary()["<|endoftext|>"]
    text = CLIPTextConfig(
        vocab_size=end + 1,
        hidden_size=768 // parts,
        intermediate_size=3072 // parts,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320 // parts, 640 // parts, 1280 // parts, 1280 // parts),
        norm_num_groups=32 // parts,
        cross_attention_dim=768 // parts,
    )
    widths = [width // parts for width in SHAPE["block_out_channels"]]
    vae = AutoencoderKL(**{**SHAPE, "block_out_channels": widths, "norm_num_groups": 32 // parts})
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    base = StableDiffusion("sd", unet, vae, (CLIPTextModel(text),), (build_tokenizer(),), scheduler)
    for network in base.networks.values():
        network.requires_grad_(False).eval()
    return base


@torch.no_grad()
def with_latent(sample: Sample, base: StableDiffusion) -> Sample:
    picture = torch.from_numpy(decode_rgb(sample.members["jpg"])).permute(2, 0, 1)[None]
    condition_map = VaeEncoder(base.vae)(scale_pictures(picture))[0].numpy().astype(np.float16)
    return Sample(sample.key, {**sample.members, **format_of("latents").encode(condition_map)})
