"""The configuration of a training. Imports no torch, so that the command line starts fast.

Each group checks itself; those of torch-free modules are defined next to what they configure (`data.py`). All
groups share one name space, that of the flags and of RUN/run.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from t2i_shards.adapters.options import AdapterName, Precision, check_above, check_at_least
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common

Schedule = Literal["cubic", "uniform"]
Weighting = Literal["snr"]
RateSchedule = Literal["constant", "cosine"]
STEPS = 1000
"""Of a training that is asked for neither --steps nor --epochs."""

LEVELS = 8
"""The most of --noise-offset-levels: its parts are then single cells of the latents of 1024 pixels."""
DECIDE = (
    "condition", "adapter", "batch", "lr", "timesteps", "weighting", "validation", "seed", "flip",
    "empty_captions", "threshold", "precision", "clip", "ema", "buckets", "live", "noise_offset",
    "noise_offset_levels",
)  # fmt: skip
"""The options that decide the adapter: a run that was begun with others is refused by name."""


@dataclass(frozen=True)
class BaseConfig:
    """The frozen base."""

    name: Common[Annotated[str, tyro.conf.arg(name="base", aliases=["--pretrained-model"])]]
    """A folder in diffusers' layout, one .safetensors file, a hub id such as
    stable-diffusion-v1-5/stable-diffusion-v1-5, or mini, which ships and paints this project's scenes; tiny and
    tiny-xl, built here, paint nothing and are for tests."""
    precision: Common[Annotated[Precision, tyro.conf.arg(aliases=["--mixed-precision"])]] = "fp32"
    """Of the frozen base and of the adapter's products; the adapter's own weights stay float32."""
    gradient_checkpointing: bool = False
    """Compute the UNet's activations twice to save memory."""
    compile: bool = False
    """Compile the UNet: faster after a minute or more."""


@dataclass(frozen=True)
class TextCacheConfig:
    """What is kept of the text encoders' work."""

    text_cache: Path | None = None
    """Where what the text encoder made of captions is kept; nowhere when not given."""
    text_cache_gb: float = 10.0
    """How much of it is kept, in 10^9 bytes."""

    def __post_init__(self) -> None:
        check_at_least(self, 0, "text_cache_gb")


@dataclass(frozen=True)
class VisitConfig:
    """What is drawn at each visit to a sample."""

    empty_captions: float = 0.0
    """Share of the visits in which the caption is left out."""
    flip: bool = False
    """Mirror half of the visits, picture and condition together."""
    threshold: Literal["fixed", "random"] = "fixed"
    """From where on a sketch is an edge: 0.5 as for SD 1.x, or 0.3 to 0.8 at random for each batch as for SDXL."""
    noise_offset: float | None = None
    """Shift the noise of each channel by a normal number of this standard deviation, so that mean colours must be
    learnt from the condition and not from the noisy latents, which show them. Off as in the paper."""
    noise_offset_levels: int = 1
    """Of --noise-offset: 1 shifts the whole picture, 2 also each of its quarters by numbers of their own, 3 also
    each of its sixteenths, and so on up to 8, so that a coarse layout must be learnt from the condition too."""

    def __post_init__(self) -> None:
        if self.noise_offset is not None and not 0 < self.noise_offset < math.inf:
            raise RequestError(f"--noise-offset must be above 0, not {self.noise_offset}")
        if not 1 <= self.noise_offset_levels <= LEVELS:
            raise RequestError(f"--noise-offset-levels must be from 1 to {LEVELS}, not {self.noise_offset_levels}")
        if self.noise_offset is None and self.noise_offset_levels > 1:
            raise RequestError("--noise-offset-levels is for --noise-offset, which is not given")
        if not 0 <= self.empty_captions <= 1:
            raise RequestError(f"--empty-captions must be a share, 0 to 1, not {self.empty_captions}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How the adapter learns."""

    batch: Common[Annotated[int, tyro.conf.arg(aliases=["--batch-size"])]] = 8
    """Samples per step, over all workers together."""
    micro_batch: int | None = None
    """Samples that a worker holds at once; its whole share of the batch when not given."""
    lr: Common[Annotated[float, tyro.conf.arg(aliases=["--learning-rate"])]] = 1e-5
    """Adam's learning rate; 1e-5 as in the paper. --base mini takes 3e-3."""
    lr_schedule: Annotated[RateSchedule, tyro.conf.arg(aliases=["--lr-scheduler"])] = "constant"
    """How the learning rate changes after the warm-up: not at all, as in the paper, or along a cosine to 0 at the
    last step."""
    warmup_steps: Annotated[int, tyro.conf.arg(aliases=["--lr-warmup-steps"])] = 0
    """Steps over which the learning rate rises from 0."""
    weight_decay: Annotated[float, tyro.conf.arg(aliases=["--adam-weight-decay"])] = 0.0
    """Share of each weight, times the learning rate, that a step takes away (AdamW); none as in the paper."""
    timesteps: Schedule = "cubic"
    """Which time steps are drawn: more early ones (cubic, as in the paper) or uniform."""
    weighting: Weighting | None = None
    """Weight the errors of time steps by their ratio of signal to noise: min-SNR, and more for the noisiest, so
    that a small base's adapters follow sooner. All count alike when not given, as in the paper."""
    clip: float | None = None
    """Norm to which the gradients of a step are scaled down; 0 scales none, as in the paper. 1 when not given, and
    none in a run that was begun before there was this option."""
    ema: float | None = None
    """Decay of a moving average of the adapter, which is then validated and exported; off as in the paper."""

    def __post_init__(self) -> None:
        check_above(self, 0, "batch", "lr")
        check_at_least(self, 1, "micro_batch")
        check_at_least(self, 0, "clip", "warmup_steps", "weight_decay")
        if self.ema is not None and not 0 < self.ema < 1:
            raise RequestError(f"--ema must be above 0 and below 1, not {self.ema}")


@dataclass(frozen=True)
class ExtractorConfig:
    """Which networks see conditions in pictures."""

    variant: str | None = None
    """Which extractors compute --live conditions, and measure how closely sample pictures follow the condition.
    When not given, the one that made the column, and `default` for --live."""
    weights: Path | None = None
    """A folder with these extractors' weight files."""


@dataclass(frozen=True)
class RecordConfig:
    """What is measured and kept while training."""

    validation: int = 16
    """Samples that are held out of the training to measure the validation loss."""
    validate_every: int = 20
    """Steps between two validations."""
    sample_every: int = 0
    """Steps between sample pictures and a measure of how closely they follow the condition; 0 makes none."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints that are kept: the newest ones. The best of those that were validated is kept as well."""
    report_to: Literal["wandb"] | None = None
    """Also send the numbers and sample pictures to Weights & Biases, as its variables say (WANDB_PROJECT …)."""

    def __post_init__(self) -> None:
        check_above(self, 0, "validation", "validate_every", "checkpoint_every", "keep")
        check_at_least(self, 0, "sample_every")


@dataclass(frozen=True)
class ComputeConfig:
    """Where, and by how many processes."""

    loaders: Common[Annotated[int, tyro.conf.arg(aliases=["--num-workers"])]] = 0
    """Processes that read and decode for each worker; 0 does it between the steps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads of torch on the CPU for each worker, else their share of the cores; --base mini needs but one."""

    def __post_init__(self) -> None:
        check_at_least(self, 0, "loaders")
        check_at_least(self, 1, "threads")


@dataclass(frozen=True)
class TrainConfig:
    """Train a T2I-Adapter on a frozen Stable Diffusion."""

    data: DataConfig
    base: BaseConfig
    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])]
    """Folder of the run; the same command continues from what is there."""
    adapter: AdapterName = "base"
    """Size of the adapter; on SD 1.x 77, 19 and 5 million parameters; xl is for SDXL."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """An adapter to begin from, of the same size: a RUN, a folder in diffusers' layout, a file of TencentARC's, or
    a hub id."""
    steps: Annotated[int | None, tyro.conf.arg(aliases=["--max-steps"])] = None
    """Training steps in all, 1000 when neither they nor --epochs are given; more than a finished run had makes it
    continue."""
    epochs: Annotated[float | None, tyro.conf.arg(aliases=["--num-train-epochs"])] = None
    """Visits to each sample, in place of --steps; 10 in the paper."""
    seed: int = 0
    """Of the adapter's first weights, the order of the samples, crops, captions, time steps and noise."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    visits: VisitConfig = field(default_factory=VisitConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    texts: TextCacheConfig = field(default_factory=TextCacheConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                check_above(self, 0, name)
        if self.steps is not None and self.epochs is not None:
            raise RequestError("give --steps or --epochs, not both")
        if self.data.latents is not None and self.visits.flip:
            raise RequestError("--latents are of a fixed crop, so --flip cannot be asked for as well")

    def decisive(self) -> dict[str, Any]:
        """What decides the adapter, by the names of DECIDE, for RUN/run.json.

        What came later than the first runs is None where all is as it was then.
        """
        options = dict(flatten_options(self))
        optimizer, levels = self.optimizer, self.visits.noise_offset_levels
        return {
            **{name: options[name] for name in DECIDE},
            "noise_offset_levels": None if levels == 1 else levels,
            "lr_schedule": None if optimizer.lr_schedule == "constant" else optimizer.lr_schedule,
            "warmup_steps": optimizer.warmup_steps or None,
            "weight_decay": optimizer.weight_decay or None,
        }


def flatten_options(options: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of each option, of all groups."""
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            yield from flatten_options(value)
        else:
            yield each.name, value
