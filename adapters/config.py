"""What can be asked of a training. Imports no torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline.errors import RequestError

AdapterName = Literal["base", "small", "tiny", "xl"]
Schedule = Literal["cubic", "uniform"]

CELL = 64
"""Pictures, and so crops, are cut to multiples of this many pixels."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a T2I-Adapter on a frozen Stable Diffusion."""

    root: tyro.conf.Positional[str]
    """The dataset."""
    condition: str
    """What the adapter is to obey: sketch, depth, keypose, seg or color."""
    out: Path
    """Folder of the run; the same command goes on from what is there."""
    column: str | None = None
    """The condition's column, where its name is not the condition's."""
    base: str = "tiny"
    """A folder in diffusers' layout, a hub id, or tiny, which is built on the machine."""
    adapter: AdapterName = "base"
    """Size of the adapter; on SD 1.x 77, 19 and 5 million parameters, xl is for SDXL, not supported yet."""
    steps: int = 1000
    """Training steps in all; more than a finished run had makes it go on."""
    batch: int = 8
    """Samples per step."""
    lr: float = 1e-5
    """Adam's learning rate; 1e-5 as in the paper, the tiny base takes 3e-3."""
    timesteps: Schedule = "cubic"
    """Which time steps are drawn: more early ones (cubic, as in the paper) or uniform."""
    duplicates: bool = True
    """Pictures that are duplicates of others are used too; --no-duplicates leaves them out."""
    size: int | None = None
    """Side of the square crop in pixels, a multiple of 64; the pictures' shortest side when not given."""
    validation: int = 16
    """Samples that are held out of the training to measure the validation loss."""
    validate_every: int = 20
    """Steps between two validations."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    seed: int = 0
    """Of the adapter's first weights, the order of the samples, crops, captions, time steps and noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads of torch on the CPU; the tiny base, whose layers are small, needs one, others take all cores."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validation", "validate_every", "checkpoint_every", "lr"):
            if getattr(self, name) <= 0:
                raise RequestError(f"--{name.replace('_', '-')} must be above 0, not {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise RequestError(f"--threads must be at least 1, not {self.threads}")
        if self.column is not None and self.condition == "color":
            raise RequestError(
                f"--condition color takes no --column, not even {self.column}: colours are made from the crops"
            )
        if self.size is not None and (self.size <= 0 or self.size % CELL):
            raise RequestError(f"--size must be a positive multiple of {CELL}, not {self.size}")
