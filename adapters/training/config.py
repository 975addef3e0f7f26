"""The configuration of a training. Imports no torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from adapters.options import AdapterName, Precision, check_condition
from extractors.maps.crop import SIZE_MULTIPLE
from extractors.registry import format_of
from pipeline.errors import RequestError

Schedule = Literal["cubic", "uniform"]


DECIDE = (
    "condition", "adapter", "batch", "lr", "timesteps", "validation", "seed", "flip", "empty_captions",
    "threshold", "precision", "clip", "ema", "buckets", "live",
)  # fmt: skip
"""The fields that decide the adapter: a run that was begun with others is refused by name."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a T2I-Adapter on a frozen Stable Diffusion."""

    roots: tyro.conf.Positional[tuple[str, ...]]
    """The dataset, or several that are mixed."""
    condition: str
    """What the adapter is to follow, such as sketch, depth or color."""
    out: Path
    """Folder of the run; the same command continues from what is there."""
    column: str | None = None
    """The condition's column, where its name is not the condition's."""
    mix: tuple[float, ...] = ()
    """Share of the samples that each dataset gives; by their sizes when not given."""
    base: str = "tiny"
    """A folder in diffusers' layout, a hub id, mini, which ships, or tiny or tiny-xl, which are built here."""
    adapter: AdapterName = "base"
    """Size of the adapter; on SD 1.x 77, 19 and 5 million parameters; xl is for SDXL."""
    steps: int = 1000
    """Training steps in all; more than a finished run had makes it continue."""
    batch: int = 8
    """Samples per step, over all workers together."""
    micro_batch: int | None = None
    """Samples that a worker holds at once; its whole share of the batch when not given."""
    lr: float = 1e-5
    """Adam's learning rate; 1e-5 as in the paper, the tiny base takes 3e-3."""
    timesteps: Schedule = "cubic"
    """Which time steps are drawn: more early ones (cubic, as in the paper) or uniform."""
    empty_captions: float = 0.0
    """Share of the visits in which the caption is left out."""
    flip: bool = False
    """Mirror half of the visits, picture and condition together."""
    threshold: Literal["fixed", "random"] = "fixed"
    """From where on a sketch is an edge: 0.5 as for SD 1.x, or 0.3 to 0.8 at random for each batch as for SDXL."""
    clip: float | None = None
    """Norm to which the gradients of a step are scaled down; 0 scales none, as in the paper. 1 when not given, and
    none in a run that was begun before there was this option."""
    ema: float | None = None
    """Decay of a moving average of the adapter, which is then validated and exported; off as in the paper."""
    precision: Precision = "fp32"
    """Of the frozen base and of the adapter's products; the adapter's own weights stay float32."""
    gradient_checkpointing: bool = False
    """Compute the UNet's activations twice to save memory."""
    compile: bool = False
    """Compile the UNet: faster after a minute or more."""
    duplicates: bool = True
    """Pictures that are duplicates of others are used too; --no-duplicates leaves them out."""
    size: int | None = None
    """Side of the square crop in pixels, a multiple of 64; the pictures' shortest side when not given."""
    buckets: bool = False
    """Whole pictures, each batch of one size, instead of square crops."""
    latents: str | None = None
    """A column of latents, which are then read instead of the pictures."""
    live: bool = False
    """Compute the condition while training, from the crop, instead of reading it from a column."""
    variant: str = "default"
    """Which extractors compute --live conditions, and measure how closely sample pictures follow the condition."""
    weights: Path | None = None
    """A folder with these extractors' weight files."""
    validation: int = 16
    """Samples that are held out of the training to measure the validation loss."""
    validate_every: int = 20
    """Steps between two validations."""
    sample_every: int = 0
    """Steps between sample pictures and a measure of how closely they follow the condition; 0 makes none."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints that are kept: the newest ones."""
    seed: int = 0
    """Of the adapter's first weights, the order of the samples, crops, captions, time steps and noise."""
    skip_damaged: int = 0
    """Damaged or vanished shards that are left out with a warning before the training stops."""
    cache: Path | None = None
    """Where shards of a store far away are kept; a folder of the user's cache when not given."""
    cache_gb: float = 50.0
    """How much of them is kept, in 10^9 bytes."""
    text_cache: Path | None = None
    """Where what the text encoder made of captions is kept; nowhere when not given."""
    text_cache_gb: float = 10.0
    """How much of it is kept, in 10^9 bytes."""
    lanes: int | None = None
    """Parts of the order with shards of their own: 1, 2 or 4 times a divisor of the batch. Where workers times
    loaders divide them, each shard is read once. 8 when not given, fewer for a small dataset."""
    loaders: int = 0
    """Processes that read and decode for each worker; 0 does it between the steps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads of torch on the CPU for each worker, else their share of the cores; the tiny base needs but one."""

    def __post_init__(self) -> None:
        positive = ("steps", "batch", "validation", "validate_every", "checkpoint_every", "keep", "lr", "cache_gb")
        for name in positive:
            if getattr(self, name) <= 0:
                raise RequestError(f"{_flag(name)} must be above 0, not {getattr(self, name)}")
        for name in ("loaders", "sample_every", "skip_damaged", "text_cache_gb"):
            if getattr(self, name) < 0:
                raise RequestError(f"{_flag(name)} must not be below 0, not {getattr(self, name)}")
        for name in ("threads", "micro_batch", "lanes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise RequestError(f"{_flag(name)} must be at least 1, not {getattr(self, name)}")
        if self.clip is not None and self.clip < 0:
            raise RequestError(f"--clip must not be below 0, not {self.clip}")
        if not 0 <= self.empty_captions <= 1:
            raise RequestError(f"--empty-captions must be a share, 0 to 1, not {self.empty_captions}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise RequestError(f"--ema must be above 0 and below 1, not {self.ema}")
        if self.size is not None and (self.size <= 0 or self.size % SIZE_MULTIPLE):
            raise RequestError(f"--size must be a positive multiple of {SIZE_MULTIPLE}, not {self.size}")
        self._check_data()

    def _check_data(self) -> None:
        if not self.roots:
            raise RequestError("train needs a dataset, and none was given")
        if self.mix and len(self.mix) != len(self.roots):
            raise RequestError(
                f"--mix must give a share for each of {len(self.roots)} datasets, not {len(self.mix)}"
            )
        if any(share <= 0 for share in self.mix):
            raise RequestError(f"--mix must give shares above 0, not {' '.join(map(str, self.mix))}")
        check_condition(self.condition)
        if self.column is not None and format_of(self.condition).from_crop:
            raise RequestError(
                f"--condition {self.condition} takes no --column, not {self.column}: it is made from the crops"
            )
        if self.live and format_of(self.condition).from_crop:
            raise RequestError(f"--condition {self.condition} takes no --live: it is always made from the crops")
        if self.live and self.column is not None:
            raise RequestError(f"--live makes the condition itself, so it takes no --column, not {self.column}")
        for other in ("size", "flip", "buckets", "live"):
            if self.latents is not None and getattr(self, other):
                raise RequestError(f"--latents are of a fixed crop, so {_flag(other)} cannot be asked for as well")
        if self.buckets and self.size is not None:
            raise RequestError("--buckets takes whole pictures, so --size cannot be asked for as well")

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read besides the pictures."""
        made = format_of(self.condition).from_crop or self.live
        condition = () if made else (self.column or self.condition,)
        return condition if self.latents is None else (*condition, self.latents)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
