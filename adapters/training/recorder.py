"""What the first worker writes while it trains: the log, TensorBoard, sample pictures, checkpoints."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adapters.training.checkpoint import Learner, State, save_checkpoint
from adapters.training.preview import Watch
from adapters.training.setup import load_extractor
from extractors.atomic import write_file
from extractors.maps.png import encode_rgb
from pipeline.errors import RequestError, describe_error
from pipeline.runlog import LogLine, read_log
from pipeline.shards.receipt import null_not_finite

if TYPE_CHECKING:
    from adapters.training.trainer import Training


class Log:
    """Appends to a file from which the lines after `step` are cut: they are about to be written again.

    last: the step of its last line, -1 when it has none.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = [line for line in read_log(path) if line.step <= step] if step else []
        self.last = kept[-1].step if kept else -1
        write_file(path, "".join(map(_text, kept)))

    def append(self, line: LogLine) -> None:
        """The line survives this process; `sync` makes it survive the machine."""
        with self._path.open("a") as file:
            file.write(_text(line))
        self.last = line.step

    def sync(self) -> None:
        """All lines are on the disk when this returns: to be called before a checkpoint that counts on them."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())


def _text(line: LogLine) -> str:
    return json.dumps(null_not_finite(asdict(line)), allow_nan=False) + "\n"  # older versions wrote NaN


FOLDER = "tensorboard"

log = logging.getLogger(__name__)


class Board:
    """Writes what TensorBoard shows; what an earlier call wrote after `step` is marked as void.

    Nothing here raises: what cannot be written is said once, and then left. All its numbers are in the log.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._writer: Any = None
        self._hook = threading.excepthook
        self._try(lambda: self._open(run, step))

    def add(self, line: LogLine) -> None:
        """The numbers of one step."""
        scalars = {
            "loss/step": line.loss,
            "loss/validation": line.validation,
            "loss/another picture's condition": line.mismatched,
            "speed/samples per second": line.samples_per_s or None,
            "speed/seconds waiting for data": line.wait,
            "memory/GPU bytes": line.memory,
            **{f"obedience/{name}": value for name, value in (line.obedience or {}).items()},
        }
        for name, value in scalars.items():
            if value is not None:
                self._write(lambda writer, name=name, value=value: writer.add_scalar(name, value, line.step))

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        """uint8 (H, W, 3): a sheet of sample pictures."""
        self._write(lambda writer: writer.add_image("samples", picture, step, dataformats="HWC"))

    def close(self) -> None:
        self._write(lambda writer: writer.close())
        threading.excepthook = self._hook

    def _open(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        opened: Any = SummaryWriter
        threading.excepthook = self._end_thread
        self._writer = opened(str(run / FOLDER), purge_step=step + 1 if step else None)

    def _end_thread(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's writing thread raises what the next write raises too: once is enough."""
        if not type(failure.thread).__module__.startswith("tensorboard."):
            self._hook(failure)

    def _write(self, write: Callable[..., object]) -> None:
        if self._writer is not None:
            self._try(lambda: write(self._writer))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._writer = None
            log.warning("nothing more is written for TensorBoard: %s", describe_error(error))


WATCHED = 4
"""Held-out samples of which pictures are made."""


class Recorder:
    """Records each step of a training, from `state` on. progress: is told each line after it is logged.

    Raises RequestError where the validation loss is not finite before anything was learned.
    """

    def __init__(
        self, training: Training, learner: Learner, state: State, progress: Callable[[LogLine], None] | None
    ) -> None:
        config = training.config
        self._training, self._learner, self._progress = training, learner, progress
        self._log = Log(config.out / "log.jsonl", state.step)
        self._board = Board(config.out, state.step)
        self._watch = self._begin_to_watch() if config.sample_every else None
        if self._log.last != state.step:  # the first of all, or one whose checkpoint was saved and no more
            self._write(state, 0.0)

    @property
    def memory(self) -> int | None:
        """The most bytes of the GPU's memory that this process has held; None on the CPU."""
        device = self._training.world.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

    def record(self, state: State, waited: float) -> None:
        """Keep a checkpoint if one is due, then measure what is due and log the step.

        In this order nothing that fails while measuring costs what was learned.
        """
        config = self._training.config
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            self._log.sync()
            save_checkpoint(config.out, state, self._learner, config.keep)
        self._write(state, waited)

    def close(self) -> None:
        """Writes what is left, and ends the thread that writes it."""
        self._board.close()

    def _write(self, state: State, waited: float) -> None:
        config = self._training.config
        due = state.step % config.validate_every == 0 or state.step == config.steps
        line = LogLine(
            step=state.step,
            loss=state.loss,
            validation=self._validate(state.step) if due else None,
            mismatched=self._validate(state.step, mismatched=True) if due else None,
            seconds=round(state.seconds, 3),
            samples_per_s=round(state.step * config.batch / state.seconds, 2) if state.step else 0.0,
            wait=round(waited, 4),
            memory=self.memory,
            obedience=self._look(state.step),
            skipped=state.skipped,
        )
        self._log.append(line)
        self._board.add(line)
        if self._progress:
            self._progress(line)

    def _validate(self, step: int, mismatched: bool = False) -> float | None:
        """The validation loss; None where it is not finite, which is said."""
        loss = self._training.validation.measure(self._training.result, mismatched)
        if math.isfinite(loss):
            return loss
        if step == 0:
            raise RequestError(
                "the validation loss must be finite before the first step, and it is not: the base overflows on "
                "these samples (with --precision fp16 try bf16 or fp32)"
            )
        log.warning("the validation loss at step %d is not finite", step)
        return None

    def _look(self, step: int) -> dict[str, float] | None:
        """Sample pictures, and how far they obey, where they are due. None as well where that failed."""
        if self._watch is None or not step or step % self._training.config.sample_every:
            return None
        try:
            sheet, obedience = self._watch.look(self._training.result)
            self._board.add_picture(sheet, step)
            write_file(self._training.config.out / "samples" / f"{step:06d}.png", encode_rgb(sheet))
        except Exception as error:
            log.warning("no sample pictures at step %d, the training goes on: %s", step, describe_error(error))
            return None
        return obedience

    def _begin_to_watch(self) -> Watch:
        training, config = self._training, self._training.config
        extractor = load_extractor(config.condition, config, training.base.device)
        size = training.framing.size
        assert size is not None
        samples = training.held_out[:WATCHED]
        batch = training.share.micro
        return Watch(training.base, samples, config.condition, size, extractor, seed=config.seed, batch=batch)
