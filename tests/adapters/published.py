"""The names and shapes of published adapter files, written down from TencentARC's and diffusers' modules.

Nothing here comes from the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

Shapes = dict[str, tuple[int, ...]]


def tencentarc_full(pixels: int, channels: Sequence[int]) -> Shapes:
    """`Adapter` and `Adapter_XL` with nums_rb=2, ksize=1, sk=True, use_conv=False. pixels: their `cin`."""
    shapes = dict(_conv("conv_in", pixels, channels[0], 3))
    for stage, width in enumerate(channels):
        before = channels[max(stage - 1, 0)]
        if before != width:
            shapes.update(_conv(f"body.{2 * stage}.in_conv", before, width, 1))
        for place in (2 * stage, 2 * stage + 1):
            shapes.update(_conv(f"body.{place}.block1", width, width, 3))
            shapes.update(_conv(f"body.{place}.block2", width, width, 1))
    return shapes


def tencentarc_light(pixels: int, channels: Sequence[int], narrow: int = 4) -> Shapes:
    """`Adapter_light` with nums_rb=4."""
    shapes: Shapes = {}
    for stage, (before, width) in enumerate(zip([pixels, *channels], channels, strict=False)):
        inner = width // narrow
        shapes.update(_conv(f"body.{stage}.in_conv", before, inner, 1))
        for block in range(4):
            for name in ("block1", "block2"):
                shapes.update(_conv(f"body.{stage}.body.{block}.{name}", inner, inner, 3))
        shapes.update(_conv(f"body.{stage}.out_conv", inner, width, 1))
    return shapes


def from_diffusers(name: str, light: bool) -> str:
    """TencentARC's name of a tensor of `diffusers.T2IAdapter`, by the tables of its conversion script."""
    if light:
        return name.removeprefix("adapter.").replace(".resnets.", ".body.")
    for stage in range(4):
        for block in (0, 1):
            name = name.replace(f"adapter.body.{stage}.resnets.{block}.", f"body.{2 * stage + block}.")
        name = name.replace(f"adapter.body.{stage}.", f"body.{2 * stage}.")
    return name.removeprefix("adapter.")


def on_meta(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _conv(name: str, before: int, after: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (after, before, kernel, kernel)
    yield f"{name}.bias", (after,)
