"""The configuration of `generate`, and how pictures are sampled. Imports no torch, so that commands start fast."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from t2i_shards.adapters.options import Precision, SamplerName
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.registry import conditions, format_of
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Advanced, Common
from t2i_shards.pipeline.sources.captions import decode_text

Blending = Literal["published", "steady"]
TIME_STEPS = 1000
"""Timesteps in the schedule of every Stable Diffusion; DDIM starts at the second."""
THIRD = Fraction(1, 3)
PARTS = {
    "all": (Fraction(0), Fraction(1)),
    "beginning": (Fraction(0), THIRD),
    "middle": (THIRD, 2 * THIRD),
    "late": (2 * THIRD, Fraction(1)),
}
"""Parts of the denoising, as shares of its steps; the thirds are those of the paper (arXiv 2302.08453, 3.3)."""
_SHARE = r"(\d{1,6}(?:\.\d{0,30})?|\.\d{1,30}|\d{1,6}/\d{1,6})"
SHARES = re.compile(f"{_SHARE}-{_SHARE}")
"""0-0.5 or 1/3-2/3. Fraction would also take 1e-999999999, and compute for hours."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes of the command line that are not UTF-8; tokenizers refuse it."""


@dataclass(frozen=True)
class Sampling:
    """How noise becomes a picture, with classifier-free guidance."""

    steps: Common[Annotated[int, tyro.conf.arg(aliases=["--num-inference-steps"])]] = 50
    """Denoising steps."""
    guidance: Common[Annotated[float, tyro.conf.arg(aliases=["--guidance-scale"])]] = 7.5
    """Classifier-free guidance; 1 goes without, and takes half the time."""
    scale: Common[Annotated[float, tyro.conf.arg(aliases=["--adapter-conditioning-scale"])]] = 1.0
    """What the adapters' features are multiplied with; 0 is the base alone."""
    active_steps: Annotated[str, tyro.conf.arg(name="acts")] = "all"
    """When the adapters act: all, beginning, middle, late (a third of the steps each), or shares such as 0-0.5."""
    sampler: Common[SamplerName] = "ddim"
    """DDIM as in the paper, DPM-Solver++, which needs 20 to 25 steps, or Euler."""
    guess_mode: bool = False
    """Adapters and a ControlNet act on the captioned half of classifier-free guidance alone, as in diffusers'
    guess mode of ControlNets: guidance then leads towards the condition as well as the caption."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RequestError(f"--steps must be at least 1, not {self.steps}")
        if self.steps >= TIME_STEPS:
            raise RequestError(f"--steps must be below {TIME_STEPS}, not {self.steps}")
        if self.guidance < 1:
            raise RequestError(f"--guidance must be at least 1, which is none, not {self.guidance}")
        if self.guess_mode and self.guidance == 1:
            raise RequestError("--guess-mode needs a --guidance above 1")
        parse_active_steps(self.active_steps)

    def record(self) -> dict[str, Any]:
        """By the names that records of pictures have always had, JSON-able."""
        # Pictures from before there was a choice were made by DDIM.
        sampler = {} if self.sampler == "ddim" else {"sampler": self.sampler}
        options = {"steps": self.steps, "guidance": self.guidance, "scale": self.scale, "acts": self.active_steps}
        return {**options, **sampler, **({"guess_mode": True} if self.guess_mode else {})}

    def is_active(self, step: int, active_steps: str | None = None) -> bool:
        """Whether an adapter acts at this step, 0 being the first and noisiest. active_steps: its own part."""
        start, end = parse_active_steps(active_steps or self.active_steps)
        return self.scale != 0 and start <= Fraction(step, self.steps) < end


def parse_active_steps(text: str, flag: str = "--acts") -> tuple[Fraction, Fraction]:
    """ "late" or "0.2-0.6" -> (start, end), shares of the steps, the end not included. Raises RequestError."""
    if text in PARTS:
        return PARTS[text]
    found, part = SHARES.fullmatch(text), None
    if found:
        with suppress(ZeroDivisionError):
            part = Fraction(found[1]), Fraction(found[2])
    if part is None or not 0 <= part[0] < part[1] <= 1:
        raise RequestError(f"{flag} must be {', '.join(PARTS)}, or shares from 0 to 1 such as 0-0.5, not {text!r}")
    return part


@dataclass(frozen=True)
class AdapterSpec:
    """One --adapter: the condition that it follows, where it is, and how much it counts next to others.

    active_steps: when it acts; None for --acts.
    """

    condition: str
    path: str
    weight: float = 1.0
    active_steps: str | None = None


@dataclass(frozen=True)
class GenerateConfig:
    """Pictures from a prompt, with adapters or without."""

    base: Annotated[str, tyro.conf.arg(aliases=["--pretrained-model"])]
    """A folder in diffusers' layout, a .safetensors file, a hub id, mini, tiny or tiny-xl: of the family of
    the adapters."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])]
    """Folder for the pictures; what is there already is not made again."""
    prompt: str | None = None
    """What the pictures should show."""
    prompts: Path | None = None
    """A text file with a prompt in each line, in place of --prompt: --n pictures of each."""
    adapter: tuple[str, ...] = ()
    """CONDITION=PATH, CONDITION=PATH:WEIGHT or CONDITION=PATH:WEIGHT:ACTS, such as sketch=RUN/adapter
    depth=other.safetensors:0.5 color=third.safetensors:1:beginning, where ACTS is --acts of this adapter alone; a
    hub id, USER/NAME or USER/NAME/FILE, in place of a path."""
    condition: tuple[str, ...] = ()
    """CONDITION=FILE: a ready-made map, such as sketch=map.png, or keypose=pose.json with the numbers."""
    invert: Advanced[tuple[str, ...]] = ()
    """Conditions whose --condition files are black on white, or dark where near, such as sketch, to be
    inverted."""
    from_picture: Path | None = None
    """A photograph, of which the conditions that are not given are extracted."""
    variant: Advanced[str] = "default"
    """Which extractors look at --from-picture: the ones the published adapters saw, or mini."""
    weights: Advanced[Path | None] = None
    """A folder with these extractors' weight files."""
    negative: Annotated[str, tyro.conf.arg(aliases=["--negative-prompt"])] = ""
    """What the pictures should not show."""
    n: Annotated[int, tyro.conf.arg(aliases=["--num-images"])] = 1
    """How many pictures, from the seed on."""
    seed: int = 0
    """Of the first picture's noise; each further picture takes the next number."""
    size: Annotated[int, tyro.conf.arg(aliases=["--resolution"])] = 512
    """The short side in pixels, a multiple of 64; the aspect is that of the maps and pictures given."""
    fit: Advanced[Literal["aspect", "square"]] = "aspect"
    """Keep the aspect of maps and pictures (long side at most twice the short one), or crop to a square."""
    sampling: Sampling = field(default_factory=Sampling)
    inpaint: Advanced[Path | None] = None
    """A picture, of which the part under --mask is repainted."""
    mask: Advanced[Path | None] = None
    """White where to paint."""
    blending: Advanced[Blending] = "published"
    """How --inpaint meets the rest of the picture. published: as TencentARC's script, which repaints the cells of
    8x8 pixels that the mask half covers, and adds new noise to the rest at each step. steady: all cells that it
    touches, one noise."""
    batch: Advanced[Annotated[int, tyro.conf.arg(aliases=["--batch-size"])]] = 1
    """Pictures at once: faster on a GPU; another number rounds differently in the last bit."""
    precision: Annotated[Precision, tyro.conf.arg(aliases=["--mixed-precision"])] = "fp32"
    """Of the base and of the adapters' features."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to work; auto takes a GPU where there is one."""
    offload: Advanced[bool] = False
    """For a GPU with little memory: each of the base's networks waits in CPU memory and is on the GPU only while
    it works. Slower."""

    def __post_init__(self) -> None:
        for name in ("n", "batch"):
            if getattr(self, name) < 1:
                raise RequestError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.size <= 0 or self.size % SIZE_MULTIPLE:
            raise RequestError(f"--size must be a positive multiple of {SIZE_MULTIPLE}, not {self.size}")
        if (self.prompt is None) == (self.prompts is None):
            raise RequestError("generate needs --prompt or --prompts, and not both: what the pictures should show")
        for name in ("prompt", "negative"):
            if SURROGATE.search(getattr(self, name) or ""):
                raise RequestError(f"--{name} must be UTF-8 text, not {getattr(self, name)!r}")
        if (self.inpaint is None) != (self.mask is None):
            raise RequestError("--inpaint and --mask go together: the picture, and which part of it to repaint")
        wanted, given = [spec.condition for spec in self.adapters], self.maps
        for name in given:
            if name not in wanted:
                raise RequestError(f"--condition {name}=… needs an --adapter {name}=… that follows it")
        for name in self.invert:
            if name not in (able := [name for name in conditions() if format_of(name).invertible]):
                raise RequestError(f"--invert must be one of {', '.join(able)}, not {name}")
            if name not in given:
                raise RequestError(f"--invert {name} needs a --condition {name}=FILE to invert")
        for name in wanted:
            if name not in given and self.from_picture is None:
                raise RequestError(f"--adapter {name}=… needs --condition {name}=FILE, or --from-picture")

    def read_prompts(self) -> list[str]:
        """All of them, each once. Raises RequestError for a file that has none."""
        if self.prompts is None:
            return [self.prompt or ""]
        try:
            lines = [line.strip() for line in decode_text(read_regular(self.prompts)).splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"--prompts must be a text file, {self.prompts}: {error}") from None
        if not any(lines):
            raise RequestError(f"--prompts must have a prompt in each line, and {self.prompts} has none")
        return list(dict.fromkeys(filter(None, lines)))

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


def parse_adapter(text: str) -> AdapterSpec:
    """ "depth=some/folder:0.5" or "color=some/folder:0.5:beginning". Raises RequestError."""
    condition, path = _split(text, "--adapter")
    active_steps, (head, _, tail) = None, path.rpartition(":")
    if os.path.exists(path):  # files and folders may have colons, such as those of a time of day
        return AdapterSpec(condition, path)
    is_part = "/" not in tail or SHARES.fullmatch(tail)
    if is_part and _read_number(tail) is None and _read_number(head.rpartition(":")[2]) is not None:
        path, active_steps = head, tail
        parse_active_steps(active_steps, f"the last part of --adapter {text}")
    head, _, tail = path.rpartition(":")
    weight = _read_number(tail)
    if weight is None or not head:  # without a colon, or with one of the path's own
        return AdapterSpec(condition, path)
    if not math.isfinite(weight):
        raise RequestError(f"--adapter must have a finite weight, and {text} has {weight}")
    return AdapterSpec(condition, head, weight, active_steps)


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _split(text: str, flag: str) -> tuple[str, str]:
    condition, _, path = text.partition("=")
    if condition not in conditions() or not path:
        raise RequestError(f"{flag} must be CONDITION=PATH with one of {', '.join(conditions())}, not {text}")
    return condition, path
