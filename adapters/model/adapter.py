"""The T2I-Adapter: a condition's control image to one feature per UNet block on the way down.

Tensors are named as in diffusers, less the leading "adapter.": body.{stage}.resnets.{block}.block1.weight.
"""

from __future__ import annotations

import torch
from torch import nn

from t2i_shards.adapters.model.config import AdapterConfig


class ResidualBlock(nn.Module):
    """(N, C, H, W) -> the same shape. The second convolution is 1x1 in full adapters, 3x3 in light ones."""

    def __init__(self, channels: int, second_kernel: int) -> None:
        super().__init__()
        self.block1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.block2 = nn.Conv2d(channels, channels, second_kernel, padding=second_kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.block2(torch.relu(self.block1(x)))
        return out


class AdapterStage(nn.Module):
    """(N, in, H, W) -> (N, out, H, W), or half of H and W rounded up when `down`."""

    def __init__(self, config: AdapterConfig, stage: int) -> None:
        super().__init__()
        size, out = config.size, config.channels[stage]
        if size.kind == "full":
            width, before, second = out, config.channels[max(stage - 1, 0)], 1
        else:
            pixels = config.in_channels * size.unshuffle**2
            width, before, second = out // size.narrow, config.channels[stage - 1] if stage else pixels, 3
        widens = size.kind == "light"
        # Off multiples of 64 pixels TencentARC's pooling rounds down and diffusers' up; the latter is used.
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if size.downs[stage] else nn.Identity()
        self.in_conv = nn.Conv2d(before, width, 1) if widens or before != width else nn.Identity()
        self.resnets = nn.Sequential(*(ResidualBlock(width, second) for _ in range(size.blocks)))
        self.out_conv = nn.Conv2d(width, out, 1) if widens else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out_conv(self.resnets(self.in_conv(self.pool(x))))
        return out


class Adapter(nn.Module):
    """Condition (N, in_channels, H, W) in 0..1, H and W multiples of 64 -> a list of features.

    For 512x512 on SD 1.x: (N, 320, 64, 64), (N, 640, 32, 32), (N, 1280, 16, 16), (N, 1280, 8, 8).
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        size = config.size
        self.config = config
        self.unshuffle = nn.PixelUnshuffle(size.unshuffle)
        pixels = config.in_channels * size.unshuffle**2
        full = size.kind == "full"
        self.conv_in = nn.Conv2d(pixels, config.channels[0], 3, padding=1) if full else nn.Identity()
        self.body = nn.ModuleList(AdapterStage(config, stage) for stage in range(len(config.channels)))

    def forward(self, condition: torch.Tensor) -> list[torch.Tensor]:
        x = self.conv_in(self.unshuffle(condition))
        features = []
        for stage in self.body:
            x = stage(x)
            features.append(x)
        return features


def make_adapter(config: AdapterConfig, seed: int) -> Adapter:
    """A new adapter with torch's own initialisation, from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Adapter(config)
