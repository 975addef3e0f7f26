"""One kind of training step in a process of its own: `python -m tests.bench.training_worker ours|latents|script`.

The base is an SDXL in small: its blocks, transformers and autoencoder with fewer channels, weights at random. What
is timed begins with a batch on the device and ends with new weights; both have the captions' context in a cache.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel

from t2i_shards.adapters.base import StableDiffusion, load_base, tiny
from t2i_shards.adapters.base.load import freeze_to
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.training.batch import Batch, scale_control_images, scale_pictures
from t2i_shards.adapters.training.config import OptimizerConfig
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.loader import RankBatch
from t2i_shards.adapters.training.loss import Objective
from t2i_shards.adapters.training.step import Step

SIZE, BATCH, STEPS = 256, 4, 4
WIDTHS = (96, 192, 384)


def small_sdxl() -> StableDiffusion:
    """As SDXL's configuration, with 0.3 of its channels in the UNet and half of them in the autoencoder."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(3, 6, 12),
        use_linear_projection=True,
        cross_attention_dim=2 * tiny.CONTEXT,
        addition_embed_type="text_time",
        addition_time_embed_dim=tiny.SIZE_WIDTH,
        projection_class_embeddings_input_dim=tiny.POOLED + 6 * tiny.SIZE_WIDTH,
    )
    vae = AutoencoderKL(
        block_out_channels=(64, 128, 256, 256),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    known = load_base("tiny-xl")
    for network in (unet, vae):
        network.requires_grad_(False).eval()
    return StableDiffusion("sdxl", unet, vae, known.text_encoders, known.tokenizers, known.scheduler)


def make_batch(latents: bool) -> Batch:
    side = SIZE // 8
    return Batch(
        pictures=None if latents else torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8),
        latents=torch.rand(BATCH, 2, 4, side, side) if latents else None,
        control_images=torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8),
        edges=torch.full((BATCH,), 0.5),
        captions=["a picture"] * BATCH,
        u=torch.rand(BATCH, dtype=torch.float64),
        vae_noise=torch.randn(BATCH, 4, side, side),
        noises=torch.randn(BATCH, 4, side, side),
    )


def our_step(base: StableDiffusion, latents: bool) -> Callable[[], object]:
    freeze_to(base, "cpu", torch.float32)
    prompt_embeds = base.embed(["a picture"] * BATCH)
    objective = Objective(base, "depth", "cubic", "fp32", lambda captions: prompt_embeds)
    adapter = make_adapter(adapter_config_for("xl", 3, base.widths), 0)
    step = Step(objective, adapter, OptimizerConfig(), RankBatch(BATCH, BATCH), World(base.device))
    batch = make_batch(latents)
    return lambda: step(iter([batch]))


def script_step(base: StableDiffusion) -> Callable[[], object]:
    """The step of examples/t2i_adapter/train_t2i_adapter_sdxl.py with its defaults, written from its description.

    The UNet is in training mode and computes gradients, which are neither used nor cleared.
    """
    from diffusers import T2IAdapter

    scheduler: Any = EulerDiscreteScheduler.from_config(base.scheduler.config)
    unet: Any = base.unet.train().requires_grad_(True)
    adapter: Any = T2IAdapter(3, (*WIDTHS, WIDTHS[-1]), 2, 16, "full_adapter_xl").train()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-5, weight_decay=1e-2)
    prompt_embeds = base.embed(["a picture"] * BATCH)
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=torch.float32).repeat(BATCH, 1)
    batch = make_batch(latents=False)
    assert batch.pictures is not None
    assert batch.control_images is not None
    pictures = scale_pictures(batch.pictures)
    conditions = scale_control_images(batch.control_images, "depth", batch.edges)

    def step() -> float:
        # The autoencoder has no gradients, and the script does not turn the graph off.
        latents = base.vae.encode(pictures).latent_dist.sample() * base.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = ((1 - torch.rand(BATCH) ** 3) * 1000).long().clamp(0, 999)
        places = [(scheduler.timesteps == t).nonzero().item() for t in timesteps]
        sigmas = scheduler.sigmas[places].view(-1, 1, 1, 1).float()
        noisy = latents + noise * sigmas
        features = adapter(conditions)
        found = unet(
            noisy / (sigmas**2 + 1).sqrt(),
            timesteps,
            encoder_hidden_states=prompt_embeds.states,
            added_cond_kwargs={"text_embeds": prompt_embeds.pooled, "time_ids": sizes},
            down_intrablock_additional_residuals=list(features),
        ).sample
        clean = found * -sigmas + noisy
        loss = (sigmas**-2.0 * (clean.float() - latents.float()) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def main(kind: str) -> None:
    torch.set_num_threads(2)
    base = small_sdxl()
    step = script_step(base) if kind == "script" else our_step(base, latents=kind == "latents")
    loaded = begin_peak()
    step()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    seconds = time.perf_counter() - started
    print(json.dumps({"steps": STEPS / seconds, "memory": peak() - loaded, "loaded": loaded}))


def begin_peak() -> int:
    """Bytes that this process holds; `peak` counts from them (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Bytes that this process has held at most since."""
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) * 1024


if __name__ == "__main__":
    main(sys.argv[1])
