"""train: a T2I-Adapter from the verified stream, on a frozen base."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from t2i_shards.adapters.options import Unnamed
from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import (
    BaseConfig,
    ComputeConfig,
    OptimizerConfig,
    RecordConfig,
    TrainConfig,
)
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.dry_run import estimate_training
from t2i_shards.jobs.messages import terminal
from t2i_shards.jobs.step_progress import show_steps
from t2i_shards.pipeline.engine.run import Engine
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.plain import number_of

if TYPE_CHECKING:
    from t2i_shards.adapters.training.plan import TrainPlan
    from t2i_shards.pipeline.runlog import LogLine


@dataclass(frozen=True)
class TrainWorkers:
    """Who trains."""

    workers: Common[int] = 1
    """Processes that share each batch, each on a GPU of its own where there are GPUs; all must see --out."""
    engine: Engine = "ray"
    """Several workers on Ray (this machine, or the cluster that RAY_ADDRESS names), or local: on this machine."""
    retries: int = 3
    """How often all workers start again from the last checkpoint after one of them died."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RequestError(f"--workers must be at least 1, not {self.workers}")
        if self.retries < 0:
            raise RequestError(f"--retries must not be below 0, not {self.retries}")
        if self.workers > 1 and launched():
            raise RequestError(
                f"--workers {self.workers} cannot be asked for under torchrun, which has started "
                f"{os.environ['WORLD_SIZE']} already"
            )

    @property
    def apart(self) -> bool:
        """Whether other processes than this one train: several, or one somewhere in a cluster."""
        cluster = self.engine == "ray" and "RAY_ADDRESS" in os.environ
        return not launched() and (self.workers > 1 or cluster)


def launched() -> bool:
    """Whether this is one of the processes that torchrun or its like has started."""
    return "WORLD_SIZE" in os.environ


@dataclass(frozen=True)
class TrainCommand:
    """Train an adapter; the finished one, which diffusers loads, is in RUN/adapter."""

    config: Unnamed[TrainConfig]
    group: Annotated[TrainWorkers, tyro.conf.arg(name="workers")] = field(default_factory=TrainWorkers)
    dry_run: bool = False
    """Say what would be done, how large it would be and until when, or what would be refused; write nothing."""
    json: bool = False
    """Print the summary as JSON."""

    @classmethod
    def short(cls, root: Path, out: Path, steps: int, held_out: int) -> TrainCommand:
        """The demo's training: minutes on two cores."""
        return cls(
            TrainConfig(
                data=DataConfig((str(root),), "sketch", latents="latents"),
                out=out,
                base=BaseConfig("mini"),
                steps=steps,
                optimizer=OptimizerConfig(batch=16, lr=3e-3, timesteps="uniform", weighting="snr"),
                record=RecordConfig(validation=held_out, validate_every=30),
                compute=ComputeConfig(threads=1),
            ),
            TrainWorkers(engine="local"),
        )

    def run(self) -> Summary:
        if self.dry_run:
            return estimate_training(self.config, self.group.workers)
        summary = train_apart(self.config, self.group) if self.group.apart else train_in_place(self.config)
        skipped = (
            f"; {number_of(summary.skipped, 'step')} skipped because a loss or gradient was not finite"
            if summary.skipped
            else ""
        )
        line = (
            f"train: {number_of(summary.steps, 'step')}, {summary.new_steps} of them now; validation loss "
            f"{summary.first_validation:.4f} before, {summary.last_validation:.4f} after; {summary.adapter}; "
            f"{summary.seconds:.1f} s, {summary.wait:.1%} of them waiting for data; the base is unchanged"
            f"{skipped}{self._name_best(summary)}"
        )
        silent = os.environ.get("RANK", "0") != "0" and launched()
        return Summary(line, {"command": "train", **asdict(summary)}, silent=silent)

    def _name_best(self, summary: TrainSummary) -> str:
        """Where the adapter is that took most from the condition, where it is not the last one."""
        from t2i_shards.adapters.training.checkpoint import name_checkpoint

        if summary.best_step in (None, summary.steps):
            return ""
        place = name_checkpoint(self.config.out, summary.best_step, self.config.optimizer.ema is not None)
        return f"; the best checkpoint is step {summary.best_step}: {place}"


def train_in_place(config: TrainConfig) -> TrainSummary:
    """The loop in this process: all there is, or one of those that torchrun has started."""
    from t2i_shards.adapters.training.trainer import train

    with ShowTraining() as shown:
        return train(config, shown.advance, on_plan=shown.begin)


class ShowTraining(ExitStack):
    """What is shown of a training: a line that says what it is about to do, and then its steps.

    plan: shown with the first step, where nobody calls `begin`.
    """

    def __init__(self, plan: TrainPlan | None = None) -> None:
        super().__init__()
        self._plan = plan

    def begin(self, plan: TrainPlan) -> None:
        terminal.info(f"train: {plan.describe(datetime.now())}")
        self._plan, self._advance = None, self.enter_context(show_steps(plan.steps))

    def advance(self, line: LogLine) -> None:
        if self._plan:
            self.begin(self._plan)
        self._advance(line)


def train_apart(config: TrainConfig, group: TrainWorkers) -> TrainSummary:
    """The loop in processes that this one starts and, as long as `retries` last, starts again."""
    import torch

    from t2i_shards.adapters.training.checkpoint import newest_step
    from t2i_shards.adapters.training.data import open_samples
    from t2i_shards.adapters.training.distributed import World
    from t2i_shards.adapters.training.extents import find_begun
    from t2i_shards.adapters.training.plan import TrainPlan, count_steps
    from t2i_shards.adapters.training.step import make_rank_batch
    from t2i_shards.jobs.launch import keep_trying, prepare_here, prepare_on_ray, train_here, train_on_ray
    from t2i_shards.jobs.launch.follow_log import follow_log

    # What these refuse, they refuse before anything is started.
    make_rank_batch(config.optimizer, World(torch.device("cpu"), world_size=group.workers))
    stream = open_samples(config.data, config.seed, config.optimizer.batch, find_begun(config).begun)
    place, attempt = (prepare_on_ray, train_on_ray) if group.engine == "ray" else (prepare_here, train_here)
    absolute, begun = place(config, group.workers), newest_step(config.out)
    held_out = config.record.validation
    samples = max(1, len(stream) - held_out)
    plan = TrainPlan(config, absolute.compute.device, samples, held_out, count_steps(config, samples), begun)
    with ShowTraining(plan) as shown:
        shown.enter_context(follow_log(absolute.out / "log.jsonl", begun, shown.advance))
        return keep_trying(attempt, absolute, group.workers, group.retries)
