"""The sizes of adapters, and the shape that one takes on a given base.

Sizes are the published ones: T2I-Adapter, arXiv 2302.08453, and ldm/modules/encoders/adapter.py of
TencentARC/T2I-Adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2i_shards.adapters.options import AdapterName, Family
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class AdapterSize:
    """kind: full blocks work at their output's width; light ones narrow to output // narrow and widen again.

    blocks: residual blocks per stage. unshuffle: pixels per side that become channels at the input. downs: for
    each stage, whether it begins by halving height and width.
    """

    kind: Literal["full", "light"]
    narrow: int
    blocks: int
    unshuffle: int
    downs: tuple[bool, ...]


SIZES: dict[AdapterName, AdapterSize] = {
    "base": AdapterSize("full", narrow=1, blocks=2, unshuffle=8, downs=(False, True, True, True)),
    "small": AdapterSize("light", narrow=4, blocks=4, unshuffle=8, downs=(False, True, True, True)),
    "tiny": AdapterSize("light", narrow=8, blocks=4, unshuffle=8, downs=(False, True, True, True)),
    "xl": AdapterSize("full", narrow=1, blocks=2, unshuffle=16, downs=(False, False, True, False)),
}


SIZE_OF_FAMILY: dict[Family, AdapterName] = {"sd": "base", "sdxl": "xl"}
"""A size whose features the denoisers of a family take; others may have features of the same shapes."""


@dataclass(frozen=True)
class AdapterConfig:
    """A size on a base. in_channels: of the condition. channels: of the features, one per stage."""

    size: AdapterSize
    in_channels: int
    channels: tuple[int, ...]


def adapter_config_for(name: AdapterName, in_channels: int, widths: tuple[int, ...]) -> AdapterConfig:
    """The adapter for a UNet whose blocks on the way down have these widths.

    The XL adapter adds its last feature to the middle block, which has the last width again. Raises RequestError
    when size and base do not go together.
    """
    size = SIZES[name]
    channels = (*widths, widths[-1]) if name == "xl" else widths
    if len(channels) != len(size.downs):
        blocks, family = (3, "SDXL") if name == "xl" else (4, "SD 1.x")
        raise RequestError(
            f"--adapter {name} needs a base whose UNet has {blocks} blocks ({family}), this one has {len(widths)}"
        )
    return AdapterConfig(size, in_channels, channels)
