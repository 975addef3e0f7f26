"""Training: one adapter, one condition, one frozen base. The same command goes on where the last one stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import torch

from adapters.adapter import Adapter, make_adapter
from adapters.base import Base, digest_base, load_base
from adapters.batch import Example, Framing, make_example, stack_examples
from adapters.checkpoint import (
    State,
    claim_run,
    commit_folder,
    discard_checkpoints,
    resume,
    save_checkpoint,
    write_json,
)
from adapters.config import CELL, TrainConfig
from adapters.export import save_adapter
from adapters.log import Log, LogLine, read_log
from adapters.objective import add_noise, denoising_loss
from adapters.sizes import layout_for
from adapters.validation import Validation
from extractors.registry import UnknownCondition, format_of
from pipeline.errors import IncompleteError, RequestError
from pipeline.image import decode_rgb
from pipeline.sample import Sample
from pipeline.stream import open_stream


@dataclass(frozen=True)
class TrainSummary:
    """A finished run. new_steps: those done by this call, 0 when there was nothing left to do.

    first_validation, last_validation: the validation loss before the first step and after the last.
    """

    steps: int
    new_steps: int
    samples: int
    seconds: float
    first_validation: float
    last_validation: float
    adapter: str
    base_digest: str


class SampleStream(Protocol):
    """What training asks of a stream; `pipeline.stream.Stream` is one."""

    digest: str

    def __len__(self) -> int: ...

    def samples(self, epoch: int, start: int = 0) -> Iterator[Sample]: ...


Progress = Callable[[LogLine], None]


def train(config: TrainConfig, progress: Progress | None = None) -> TrainSummary:
    """Train to the last step, and prove that the base has not changed.

    Raises RequestError for a request that cannot be met, DamagedShard for data that is not what it was.
    """
    try:
        format_of(config.condition)
    except UnknownCondition as error:
        raise RequestError(str(error)) from None
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # The colours of a crop are not those of the column's cells, so they are made from the picture.
    columns = () if config.condition == "color" else (config.column or config.condition,)
    stream = open_stream(config.root, columns, config.seed, config.duplicates)
    return Training(config, stream, load_base(config.base, device)).run(progress)


class Training:
    """One run: its fixed parts, made from the configuration, and the loop."""

    def __init__(self, config: TrainConfig, stream: SampleStream, base: Base) -> None:
        if len(stream) <= config.validation:
            raise RequestError(
                f"--validation {config.validation} must leave samples to train on, and there are {len(stream)}"
            )
        self.config = config
        self.stream = stream
        self.base = base
        self.base_digest = digest_base(base)
        held_out = list(islice(stream.samples(0), config.validation))
        _check_column(config, held_out[0])
        self.held_out = {sample.key for sample in held_out}
        size = config.size or _shortest_side(held_out)
        self.framing = Framing(config.condition, size, base.latent_shape(size))
        self.layout = layout_for(config.adapter, format_of(config.condition).channels, base.widths)
        self.adapter = self._first_adapter()
        self.optimizer = torch.optim.Adam(self.adapter.parameters(), lr=config.lr)
        claim_run(config.out, self.identity())
        self.validation = Validation(base, held_out, self.framing, config.timesteps, config.seed, config.batch)

    def identity(self) -> dict[str, Any]:
        """What decides the adapter at a given step. Paths may change, what they hold may not.

        On the same kind of CPU, with the same number of threads and the same torch, it decides every bit.
        Elsewhere all that is drawn is the same and the rounding is not; a run may go on there all the same.
        """
        config = self.config
        names = ("condition", "adapter", "batch", "lr", "timesteps", "validation", "seed")
        return {
            **{name: getattr(config, name) for name in names},
            "size": self.framing.size,
            "data": self.stream.digest,
            "base": self.base_digest,
        }

    def run(self, progress: Progress | None = None) -> TrainSummary:
        config = self.config
        finished = read_summary(config.out)
        if finished and finished.steps >= config.steps and (config.out / "adapter").is_dir():
            return replace(finished, new_steps=0)
        begun = state = resume(config.out, self.adapter, self.optimizer)
        log = Log(config.out / "log.jsonl", state.step)
        say = progress or (lambda line: None)
        if state.step == 0:
            self._record(log, say, state, loss=None)
        started = time.perf_counter() - state.seconds
        visits = self._visits(state.epoch, state.position)
        while state.step < config.steps:
            loss, epoch, position = self._step(visits)
            state = State(state.step + 1, epoch, position, time.perf_counter() - started)
            self._record(log, say, state, loss)
            if state.step % config.checkpoint_every == 0 or state.step == config.steps:
                save_checkpoint(config.out, state, self.adapter, self.optimizer)
        return self._finish(state, state.step - begun.step)

    def _first_adapter(self) -> Adapter:
        return make_adapter(self.layout, self.config.seed).to(self.base.device)

    def _step(self, visits: Iterator[tuple[int, int, Example]]) -> tuple[float, int, int]:
        """One step of the optimizer. The loss, and the stream's epoch and position after it."""
        taken = list(islice(visits, self.config.batch))
        batch = stack_examples([example for _, _, example in taken], self.base.device)
        loss = denoising_loss(self.base, self.adapter, add_noise(self.base, batch, self.config.timesteps))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        epoch, position, _ = taken[-1]
        return loss.item(), epoch, position

    def _visits(self, epoch: int, position: int) -> Iterator[tuple[int, int, Example]]:
        """(epoch, position behind it, example) of all samples that are not held out, epoch after epoch."""
        for current in count(epoch):
            for sample in self.stream.samples(current, position):
                position += 1
                if sample.key not in self.held_out:
                    yield current, position, make_example(sample, self.framing, self.config.seed, str(current))
            position = 0

    def _record(self, log: Log, say: Progress, state: State, loss: float | None) -> None:
        due = state.step % self.config.validate_every == 0 or state.step == self.config.steps
        line = LogLine(
            step=state.step,
            loss=loss,
            validation=self.validation.measure(self.adapter) if due else None,
            mismatched=self.validation.measure(self.adapter, mismatched=True) if due else None,
            seconds=round(state.seconds, 3),
            samples_per_s=round(state.step * self.config.batch / state.seconds, 2) if state.step else 0.0,
        )
        log.append(line)
        say(line)

    def _finish(self, state: State, new_steps: int) -> TrainSummary:
        config = self.config
        after = digest_base(self.base)
        if after != self.base_digest:
            # Nobody knows since when; a checkpoint left here would be finished by the next call, unquestioned.
            discard_checkpoints(config.out)
            raise IncompleteError(
                f"the frozen base changed during the training: sha256 {self.base_digest[:12]}… before, "
                f"{after[:12]}… after; the checkpoints in {config.out} are removed, and it begins again at step 0"
            )
        # The older summary must not vouch for the newer adapter.
        (config.out / "summary.json").unlink(missing_ok=True)
        with commit_folder(config.out / "adapter") as folder:
            save_adapter(self.adapter, folder)
        logged = {line.step: line.validation for line in read_log(config.out / "log.jsonl")}
        first, last = logged.get(0), logged.get(state.step)
        # The log may have been lost, or the run may end at a step that an earlier call had no reason to measure.
        if first is None:
            first = self.validation.measure(self._first_adapter())
        if last is None:
            last = self.validation.measure(self.adapter)
        summary = TrainSummary(
            steps=state.step,
            new_steps=new_steps,
            samples=state.step * config.batch,
            seconds=state.seconds,
            first_validation=first,
            last_validation=last,
            adapter=str(config.out / "adapter"),
            base_digest=self.base_digest,
        )
        write_json(config.out / "summary.json", asdict(summary))
        return summary


def read_summary(run: Path) -> TrainSummary | None:
    """The summary of a run that was finished, else None."""
    path = run / "summary.json"
    return TrainSummary(**json.loads(path.read_text())) if path.exists() else None


def _check_column(config: TrainConfig, sample: Sample) -> None:
    """RequestError when the column does not hold the condition's map."""
    if config.condition == "color":
        return
    for member in format_of(config.condition).members:
        if member not in sample.members:
            raise RequestError(
                f"--column {config.column or config.condition} must hold what --condition {config.condition} "
                f"needs, and {sample.key} has no {member}"
            )


def _shortest_side(samples: Sequence[Sample]) -> int:
    sides: list[int] = [min(decode_rgb(sample.members["jpg"]).shape[:2]) for sample in samples]
    return min(sides) // CELL * CELL
