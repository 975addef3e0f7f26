"""What the first worker writes while it trains: the log, TensorBoard, sample pictures, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from adapters.board import Board
from adapters.checkpoint import Learner, State, save_checkpoint
from adapters.log import Log, LogLine
from adapters.prepare import load_extractor
from adapters.watch import Watch
from extractors.atomic import write_file
from extractors.png import encode_rgb
from pipeline.errors import RequestError
from pipeline.stage import describe_error

if TYPE_CHECKING:
    from adapters.loop import Training

log = logging.getLogger(__name__)

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
