"""The configuration of `evaluate`. Imports no torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.options import Precision, Root, check_condition
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Advanced

FeatureName = Literal["mini", "inception", "clip"]
SAMPLES = 64
"""Samples that an adapter is evaluated on when those its training held out are not known."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How closely an adapter's pictures follow the condition, and how good they are."""

    root: Root
    """The dataset whose captions and conditions are used."""
    condition: str
    """What the adapter is to follow."""
    base: Annotated[str, tyro.conf.arg(aliases=["--pretrained-model"])]
    """A folder in diffusers' layout, a .safetensors file, a hub id, mini, tiny or tiny-xl: of the family of
    the adapter."""
    adapter: Path | None = None
    """The adapter: RUN/adapter, RUN, or a file."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["--output-dir"])] = None
    """Folder for the pictures and the table; RUN/evaluation when not given. What is there is not made again."""
    without: Advanced[Path | None] = None
    """Folder for the pictures without the adapter, which evaluations of several adapters share; in OUT when not
    given."""
    column: Advanced[str | None] = None
    """The condition's column, where its name is not the condition's."""
    samples: int | None = None
    """How many; when not given those of ROOT that the training held out, if the adapter is in its RUN, else 64.
    Beyond those held out, samples are taken that it was trained on."""
    seed: Advanced[int] = 0
    """Seed of the noise; each sample's own comes from this one and the sample's key."""
    sampling: Sampling = field(default_factory=Sampling)
    size: Advanced[Annotated[int | None, tyro.conf.arg(aliases=["--resolution"])]] = None
    """Side of the square cut from the middle; the RUN's, or the pictures' shortest side, when not given."""
    variant: Advanced[str | None] = None
    """Which extractor looks at the pictures; the column's own when not given."""
    enlarge: Advanced[int | None] = None
    """Side to which smaller pictures are enlarged for the extractor, whose network knows larger ones; not for
    color, whose cells have a fixed size."""
    weights: Advanced[Path | None] = None
    """A folder with weight files: of the extractor, of Inception-v3 (FID) and of CLIP."""
    batch: Annotated[int, tyro.conf.arg(aliases=["--batch-size"])] = 8
    """Pictures at once; another number rounds differently in the last bit."""
    precision: Annotated[Precision, tyro.conf.arg(aliases=["--mixed-precision"])] = "fp32"
    """Of the base and of the adapter's features."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to work; auto takes a GPU where there is one."""
    offload: Advanced[bool] = False
    """For a GPU with little memory: each of the base's networks waits in CPU memory and is on the GPU only while
    it works. Slower."""
    seeds: Advanced[int] = 1
    """How many pictures of each sample are made in each way, with --seed and the following ones."""
    features: Advanced[FeatureName] = "mini"
    """Network whose features the kernel distance compares: mini ships, the others are those of FID and CLIP
    score."""
    quality: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are measured)")] = True
    """Leave out FID and CLIP score, whose networks (1.8 GB) are otherwise fetched where they are missing."""
    controlnet: Advanced[Path | None] = None
    """In place of --adapter: a ControlNet's folder in diffusers' layout."""

    def __post_init__(self) -> None:
        for name in ("batch", "seeds"):
            if getattr(self, name) < 1:
                raise RequestError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.samples is not None and self.samples < 2:
            raise RequestError(
                f"--samples must be at least 2, as each gets another's condition, not {self.samples}"
            )
        if (self.adapter is None) == (self.controlnet is None):
            raise RequestError("evaluate needs --adapter or --controlnet, and not both: what is to be evaluated")
        check_condition(self.condition)
        for name in ("size", "enlarge"):
            side = getattr(self, name)
            if side is not None and (side <= 0 or side % SIZE_MULTIPLE):
                raise RequestError(f"--{name} must be a positive multiple of {SIZE_MULTIPLE}, not {side}")

        if self.enlarge is not None and (cell := format_of(self.condition).cell) > 1:
            raise RequestError(
                f"--enlarge must be left out for {self.condition}, whose map has a value for each {cell}x{cell} "
                f"pixels of the picture itself, not {self.enlarge}"
            )

    @property
    def subject(self) -> Path:
        """The path of what is evaluated."""
        path = self.adapter or self.controlnet
        assert path is not None
        return path

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read in addition to images."""
        return () if format_of(self.condition).from_crop else (self.column or self.condition,)
