"""The small networks for depth and segmentation: a timm encoder under a MiDaS-style decoder.

As in MiDaS (Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, `midas_net_custom.py` of its
repository), every stage of the encoder is brought to one width, and fusion blocks of residual convolutions go from
the coarsest stage to the finest, doubling the sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from t2i_shards.extractors.weights.checkpoints import read_tensors

ENCODER = "mobilenetv3_small_100"
STRIDE = 32
"""Sides must be multiples of this."""
WIDTHS = (24, 32, 48, 64, 64)
"""Channels of the decoder at 1/2, 1/4 ... 1/32 of the picture's sides."""
DETAIL = 8
"""Channels at the picture's own size."""

# fmt: off
SEG_LABELS: tuple[int, ...] = (
    0, 2, 9, 10, 11, 12, 14, 27, 32, 36, 61, 62, 63, 85, 96, 99, 100, 101, 110, 114, 116, 117, 123, 126, 127, 129,
    134, 139, 148, 149, 153, 154, 156, 157, 158, 159, 164, 165, 168, 170, 172, 173, 175, 180,
)
# fmt: on
"""COCO-Stuff pixel values that scenes contain, in the order of the segmentation network's channels."""


class Residual(nn.Module):
    """A convolution after a ReLU, normalised, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(F.relu(x)))
        return x + y


class Fusion(nn.Module):
    """The coarser stage's features, brought to this stage's width and size, plus this stage's."""

    def __init__(self, coarser: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarser, width, 1)
        self.residual = Residual(width)

    def forward(self, coarse: Tensor, x: Tensor) -> Tensor:
        y: Tensor = self.residual(x + enlarge(self.narrow(coarse), 2))
        return y


class Decoder(nn.Module):
    """(N, 3, H, W) float, H and W multiples of 32 -> the features of one stage, 0 to 4: (N, WIDTHS[finest], h, w),
    h and w being H and W over 2 ** (1 + finest)."""

    def __init__(self, finest: int) -> None:
        super().__init__()
        import timm

        stages, widths = tuple(range(finest, len(WIDTHS))), WIDTHS[finest:]
        encoder: Any = timm.create_model(ENCODER, features_only=True, pretrained=False, out_indices=stages)
        self.encoder = encoder
        channels = encoder.feature_info.channels()
        self.reassemble = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.deepest = Residual(widths[-1])
        self.fusions = nn.ModuleList(Fusion(c, w) for c, w in zip(widths[1:], widths[:-1], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        stages = [conv(f) for conv, f in zip(self.reassemble, self.encoder(x), strict=True)]
        y: Tensor = self.deepest(stages[-1])
        for fusion, stage in zip(reversed(self.fusions), reversed(stages[:-1]), strict=True):
            y = fusion(y, stage)
        return F.relu(y)


class SmallDepth(nn.Module):
    """(N, 3, H, W) float RGB in -1..1 -> (N, H, W) inverse depth on a scale of its own, greater is nearer.

    The head sees the picture again, so that outlines are as sharp as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder(finest=0)
        self.coarse = nn.Conv2d(WIDTHS[0], DETAIL, 3, padding=1)
        self.detail = nn.Conv2d(3, DETAIL, 3, padding=1)
        self.head = nn.Conv2d(DETAIL, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.detail(x) + enlarge(self.coarse(self.decoder(x)), 2)
        out: Tensor = self.head(F.relu(fine))[:, 0]
        return out


class SmallSeg(nn.Module):
    """(N, 3, H, W) float, ImageNet-normalised RGB -> (N, len(SEG_LABELS), H, W) scores.

    `small` gives them at a quarter of the sides, where they are learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder(finest=1)
        self.head = nn.Conv2d(WIDTHS[1], len(SEG_LABELS), 1)

    def small(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.decoder(x))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return enlarge(self.small(x), 4)


def enlarge(x: Tensor, times: int) -> Tensor:
    """Both sides so many times as long; pixel i becomes the pixels from times * i on."""
    return F.interpolate(x, scale_factor=float(times), mode="bilinear", align_corners=False)


def load_depth(path: Path) -> nn.Module:
    """The depth network of this project's own weights. Raises NotTensors or RuntimeError."""
    return _load(SmallDepth(), path)


def load_seg(path: Path) -> nn.Module:
    """The segmentation network of this project's own weights. Raises NotTensors or RuntimeError."""
    return _load(SmallSeg(), path)


def _load(network: nn.Module, path: Path) -> nn.Module:
    network.load_state_dict(read_tensors(path), strict=True)
    return network
