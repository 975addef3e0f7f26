"""What can be asked of `generate` and `evaluate`. Imports no torch, so that the command line starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from adapters.config import CELL, Precision
from adapters.sampling import Sampling
from extractors.registry import conditions
from pipeline.errors import RequestError

SAMPLES = 64
"""On which an adapter is evaluated of which no held-out ones are known."""


@dataclass(frozen=True)
class AdapterSpec:
    """One --adapter: the condition that it obeys, where it is, and how much it counts beside others."""

    condition: str
    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class GenerateConfig:
    """Pictures from a prompt, with adapters or without."""

    base: str
    """A folder in diffusers' layout, a hub id, mini, tiny or tiny-xl: of the family of the adapters."""
    prompt: str
    """What is to be seen."""
    out: Path
    """Folder for the pictures; what is there already is not made again."""
    adapter: tuple[str, ...] = ()
    """CONDITION=PATH or CONDITION=PATH:WEIGHT, such as sketch=RUN/adapter depth=other.safetensors:0.5."""
    condition: tuple[str, ...] = ()
    """CONDITION=FILE: a ready-made map, such as sketch=map.png, or keypose=pose.json with the numbers."""
    invert: tuple[Literal["sketch", "canny", "depth"], ...] = ()
    """Whose --condition files are black on white, or dark where near: they are turned round."""
    from_picture: Path | None = None
    """A photograph, of which the conditions that are not given are extracted."""
    variant: str = "default"
    """Which extractors do that: the ones the published adapters saw, or mini."""
    weights: Path | None = None
    """A folder with their weight files."""
    negative: str = ""
    """What is not to be seen."""
    n: int = 1
    """How many pictures, from the seed on."""
    seed: int = 0
    """Of the first picture's noise; the others count on from it."""
    size: int = 512
    """The short side in pixels, a multiple of 64; the aspect is that of the maps and pictures given."""
    fit: Literal["aspect", "square"] = "aspect"
    """Keep their aspect (long side at most twice the short one), or crop to a square."""
    sampling: Sampling = field(default_factory=Sampling)
    inpaint: Path | None = None
    """A picture, of which the part under --mask is painted anew."""
    mask: Path | None = None
    """White where to paint."""
    batch: int = 1
    """Pictures at once: faster on a GPU; rounds otherwise in the last bit."""
    precision: Precision = "fp32"
    """Of the base and of the adapters' features."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to paint; auto takes a GPU where there is one."""

    def __post_init__(self) -> None:
        for name in ("n", "batch"):
            if getattr(self, name) < 1:
                raise RequestError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.size <= 0 or self.size % CELL:
            raise RequestError(f"--size must be a positive multiple of {CELL}, not {self.size}")
        if (self.inpaint is None) != (self.mask is None):
            raise RequestError("--inpaint and --mask go together: which picture, and what of it to paint anew")
        wanted, given = [spec.condition for spec in self.adapters], self.maps
        for name in given:
            if name not in wanted:
                raise RequestError(f"--condition {name}=… needs an --adapter {name}=… that obeys it")
        for name in self.invert:
            if name not in given:
                raise RequestError(f"--invert {name} needs a --condition {name}=FILE to turn round")
        for name in wanted:
            if name not in given and self.from_picture is None:
                raise RequestError(f"--adapter {name}=… needs --condition {name}=FILE, or --from-picture")

    @property
    def adapters(self) -> list[AdapterSpec]:
        return [parse_adapter(text) for text in self.adapter]

    @property
    def maps(self) -> dict[str, Path]:
        """The file of each condition that has one."""
        pairs = [_split(text, "--condition") for text in self.condition]
        if len(dict(pairs)) < len(pairs):
            raise RequestError(
                f"--condition must give one file for each condition, not {' '.join(self.condition)}"
            )
        return {name: Path(file) for name, file in pairs}


@dataclass(frozen=True)
class EvaluateConfig:
    """How far an adapter's pictures obey, and how good they are."""

    root: tyro.conf.Positional[str]
    """The dataset whose captions and conditions are used."""
    condition: str
    """What the adapter is to obey."""
    base: str
    """A folder in diffusers' layout, a hub id, mini, tiny or tiny-xl: of the family of the adapter."""
    adapter: Path
    """The adapter: RUN/adapter, RUN, or a file."""
    out: Path | None = None
    """Folder for the pictures and the table; RUN/evaluation when not given. What is there is not made again."""
    column: str | None = None
    """The condition's column, where its name is not the condition's."""
    samples: int | None = None
    """How many: when not given those of ROOT that the training held out, if the adapter lies in its RUN, else 64.
    Of more than it held out the others are some that it saw."""
    seed: int = 0
    """Of the noise; each sample has its own, from this and its key."""
    sampling: Sampling = field(default_factory=Sampling)
    size: int | None = None
    """Side of the square cut from the middle; the RUN's, or the pictures' shortest side, when not given."""
    variant: str | None = None
    """Which extractor looks at the pictures; the column's own when not given."""
    weights: Path | None = None
    """A folder with weight files: of the extractor, of Inception-v3 (FID) and of CLIP."""
    batch: int = 8
    """Pictures at once; rounds otherwise in the last bit."""
    precision: Precision = "fp32"
    """Of the base and of the adapter's features."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to work; auto takes a GPU where there is one."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise RequestError(f"--batch must be at least 1, not {self.batch}")
        if self.samples is not None and self.samples < 2:
            raise RequestError(
                f"--samples must be at least 2, as each gets another's condition, not {self.samples}"
            )
        if self.condition not in conditions():
            raise RequestError(f"--condition must be one of {', '.join(conditions())}, not {self.condition}")
        if self.size is not None and (self.size <= 0 or self.size % CELL):
            raise RequestError(f"--size must be a positive multiple of {CELL}, not {self.size}")

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read beside the pictures; colours are made from the crop."""
        return () if self.condition == "color" else (self.column or self.condition,)


def parse_adapter(text: str) -> AdapterSpec:
    """ "depth=some/folder:0.5". Raises RequestError."""
    condition, path = _split(text, "--adapter")
    head, colon, tail = path.rpartition(":")
    try:
        weight = float(tail) if colon else 1.0
    except ValueError:  # a colon of the path's own
        return AdapterSpec(condition, path)
    if not math.isfinite(weight):
        raise RequestError(f"--adapter must have a finite weight, and {text} has {weight}")
    return AdapterSpec(condition, head if colon else path, weight)


def _split(text: str, flag: str) -> tuple[str, str]:
    condition, _, path = text.partition("=")
    if condition not in conditions() or not path:
        raise RequestError(f"{flag} must be CONDITION=PATH with one of {', '.join(conditions())}, not {text}")
    return condition, path
