"""MiDaS 3 DPT-hybrid (Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021), for inference.

A ResNet-50 stem and a ViT-B/16 on top of it (timm's vit_base_r50_s16_384), a reassembling of four of their layers
and a convolutional decoder. Modules are named as in the published checkpoint (isl-org/MiDaS, DPTDepthModel).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_shards.extractors.weights.checkpoints import read_tensors

WIDTH = 256
PATCH = 16
TAPPED = (8, 11)
"""The transformer blocks whose outputs are reassembled, with those of the first two ResNet stages."""


class Readout(nn.Module):
    """The class token mixed into every other token: (N, 1 + T, C) -> (N, T, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * channels, channels), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        rest = tokens[:, 1:]
        mixed: Tensor = self.project(torch.cat([rest, tokens[:, :1].expand_as(rest)], dim=2))
        return mixed


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.relu(self.conv1(F.relu(x)))) + x
        return y


class Fusion(nn.Module):
    """A coarser path and the layer of its size, brought to twice the size."""

    def __init__(self) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(WIDTH, WIDTH, 1)
        self.resConfUnit1 = Residual()
        self.resConfUnit2 = Residual()

    def forward(self, path: Tensor, layer: Tensor | None = None) -> Tensor:
        if layer is not None:
            path = path + self.resConfUnit1(layer)
        path = F.interpolate(self.resConfUnit2(path), scale_factor=2, mode="bilinear", align_corners=True)
        y: Tensor = self.out_conv(path)
        return y


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Encoder(nn.Module):
    """(N, 3, H, W) -> features of 256, 512, 768 and 768 channels at a 4th, 8th, 16th and 32nd of the size."""

    def __init__(self) -> None:
        import timm

        super().__init__()
        self.model: Any = timm.create_model("vit_base_r50_s16_384", pretrained=False)
        skip = nn.Identity()  # where the published modules have no weights, so that the numbers are theirs
        self.act_postprocess3 = nn.Sequential(Readout(768), skip, skip, nn.Conv2d(768, 768, 1))
        self.act_postprocess4 = nn.Sequential(
            Readout(768), skip, skip, nn.Conv2d(768, 768, 1), nn.Conv2d(768, 768, 3, stride=2, padding=1)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        grid = x.shape[2] // PATCH, x.shape[3] // PATCH
        resnet = self.model.patch_embed.backbone
        first = resnet.stages[0](resnet.stem(x))
        second = resnet.stages[1](first)
        patches = self.model.patch_embed.proj(resnet.stages[2](second)).flatten(2).transpose(1, 2)
        token = self.model.cls_token.expand(len(x), -1, -1)
        tokens = torch.cat([token, patches], dim=1) + resize_positions(self.model.pos_embed, grid)
        tapped = []
        for number, block in enumerate(self.model.blocks):
            tokens = block(tokens)
            if number in TAPPED:
                tapped.append(tokens)
        reassembled = [
            reassemble[1:](reassemble[0](tokens).transpose(1, 2).unflatten(2, grid))
            for reassemble, tokens in zip((self.act_postprocess3, self.act_postprocess4), tapped, strict=True)
        ]
        return [first, second, *reassembled]


def resize_positions(learnt: Tensor, grid: tuple[int, int]) -> Tensor:
    """The position embedding (1, 1 + side², C) at another grid, bilinear; the class token's stays as it is."""
    side = int((learnt.shape[1] - 1) ** 0.5)
    square = learnt[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    resized = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([learnt[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class Decoder(nn.Module):
    """The encoder's features, coarse to fine -> (N, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        for number, channels in enumerate((256, 512, 768, 768), start=1):
            self.add_module(f"layer{number}_rn", nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False))
            self.add_module(f"refinenet{number}", Fusion())
        self.output_conv = nn.Sequential(
            nn.Conv2d(WIDTH, 128, 3, padding=1),
            Double(),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        path: Tensor | None = None
        for number in (4, 3, 2, 1):
            layer = self.get_submodule(f"layer{number}_rn")(features[number - 1])
            fusion = self.get_submodule(f"refinenet{number}")
            path = fusion(layer) if path is None else fusion(path, layer)
        depth: Tensor = self.output_conv(path)
        return depth


class MiDaS(nn.Module):
    """(N, 3, H, W) RGB in -1..1, sides multiples of 32 -> (N, H, W) inverse depth, >= 0, of no fixed scale."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = Encoder()
        self.scratch = Decoder()

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.scratch(self.pretrained(x))
        return depth[:, 0]


def load_midas(path: Path) -> MiDaS:
    """The network of the published checkpoint, in eval mode. Raises NotTensors or RuntimeError."""
    with torch.device("meta"):  # 123 million weights that would be drawn at random first
        network = MiDaS()
    network.load_state_dict(read_tensors(path), strict=True, assign=True)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
