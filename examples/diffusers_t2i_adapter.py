"""Train a T2I-Adapter with accelerate and diffusers alone, on samples that come from our shards.

    accelerate launch examples/diffusers_t2i_adapter.py data/photos --condition sketch --base mini --size 128 \
        --lr 1e-3 --steps 100 --out runs/adapter

The loop is that of diffusers' own training scripts: a frozen UNet is given the adapter's features as residuals on
its way down, and the adapter learns to predict the noise with them. `t2i-shards train` does the same with less
memory, checkpoints and validation; this is for those who have a loop of their own and want the data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import AutoencoderKL, DDPMScheduler, T2IAdapter, UNet2DConditionModel
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import CLIPTextModel, CLIPTokenizer

from t2i_shards import ShardDataset
from t2i_shards.adapters.base.mini import find_mini


def train(arguments: argparse.Namespace) -> list[float]:
    """Train for --steps and save the adapter. The losses."""
    accelerator = Accelerator(mixed_precision=arguments.mixed_precision)
    set_seed(0)
    base = str(find_mini()) if arguments.base == "mini" else arguments.base
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    frozen = [
        CLIPTextModel.from_pretrained(base, subfolder="text_encoder"),
        AutoencoderKL.from_pretrained(base, subfolder="vae"),
        UNet2DConditionModel.from_pretrained(base, subfolder="unet"),
    ]
    for network in frozen:
        network.requires_grad_(False).to(accelerator.device)
    text_encoder, vae, unet = frozen

    # Each rank reads samples of its own, so the DataLoader is not handed to `prepare`.
    dataset = ShardDataset(
        arguments.root,
        condition=arguments.condition,
        batch_size=arguments.batch,
        size=arguments.size,
        flip=True,
        split_ranks=True,
    )
    loader = DataLoader(dataset, batch_size=arguments.batch, num_workers=arguments.workers, drop_last=True)
    channels = next(iter(DataLoader(dataset, batch_size=1)))["control_image"].shape[1]
    adapter = T2IAdapter(
        in_channels=channels,
        channels=tuple(unet.config.block_out_channels),
        num_res_blocks=2,
        downscale_factor=8,
        adapter_type="full_adapter",
    )
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=arguments.lr)
    adapter, optimizer = accelerator.prepare(adapter, optimizer)

    losses: list[float] = []
    epoch = 0
    while len(losses) < arguments.steps:
        dataset.set_epoch(epoch)
        before = len(losses)
        for batch in loader:
            images = (batch["image"].float() / 127.5 - 1).to(accelerator.device)
            control_images = (batch["control_image"].float() / 255).to(accelerator.device)
            tokens = tokenizer(
                batch["caption"], padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids.to(accelerator.device)
            with torch.no_grad():
                states = text_encoder(tokens)[0]
                latents = vae.encode(images).latent_dist.sample() * vae.config.scaling_factor
            noise = torch.randn_like(latents)
            times = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),), device=latents.device)
            with accelerator.autocast():
                predicted = unet(
                    scheduler.add_noise(latents, noise, times),
                    times,
                    encoder_hidden_states=states,
                    down_intrablock_additional_residuals=list(adapter(control_images)),
                ).sample
                loss = functional.mse_loss(predicted.float(), noise.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(adapter.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if accelerator.is_main_process and len(losses) % arguments.log_every == 0:
                print(f"step {len(losses)}, epoch {epoch}, loss {losses[-1]:.4f}")
            if len(losses) == arguments.steps:
                break
        if len(losses) == before:
            raise SystemExit("no process has a whole batch: give a smaller --batch, or fewer --workers")
        epoch += 1
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(adapter).save_pretrained(arguments.out)
    accelerator.end_training()
    return losses


def main(words: list[str] | None = None) -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the dataset")
    parser.add_argument("--condition", default="sketch", help="the column with the control images")
    parser.add_argument("--base", default="mini", help="a folder in diffusers' layout, a hub id, or mini")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the adapter")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=512, help="pixels of a crop's sides")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--workers", type=int, default=0, help="processes that load samples")
    parser.add_argument("--mixed-precision", default="no", choices=["no", "fp16", "bf16"])
    parser.add_argument("--log-every", type=int, default=20)
    return train(parser.parse_args(words))


if __name__ == "__main__":
    main()
