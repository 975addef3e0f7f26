"""What the first worker writes while it trains: the log, TensorBoard, sample pictures, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch

from adapters.training.checkpoint import Learner, State, save_checkpoint
from adapters.training.config import TrainConfig
from adapters.training.log import Log
from adapters.training.preview import Watch
from adapters.training.tensorboard import Board
from adapters.training.validation import Validation
from extractors.atomic import write_file
from extractors.maps.png import encode_rgb
from pipeline.errors import RequestError, describe_error
from pipeline.runlog import LogLine

log = logging.getLogger(__name__)


class Recorder:
    """Records each step of a training, from `state` on.

    watch: makes the sample pictures, None for none. device: whose memory is measured. progress: is given each line
    after it is logged. Raises RequestError where the validation loss is not finite before anything was learned.
    """

    def __init__(
        self,
        config: TrainConfig,
        learner: Learner,
        validation: Validation,
        state: State,
        device: torch.device,
        watch: Watch | None = None,
        progress: Callable[[LogLine], None] | None = None,
    ) -> None:
        self._config, self._learner, self._validation = config, learner, validation
        self._device, self._watch, self._progress = device, watch, progress
        self._log = Log(config.out / "log.jsonl", state.step)
        self._board = Board(config.out, state.step)
        if self._log.last != state.step:  # the first of all, or one whose checkpoint was saved and no more
            self._write(state, 0.0)

    @property
    def memory(self) -> int | None:
        """The most bytes of the GPU's memory that this process has held; None on the CPU."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None

    def record(self, state: State, waited: float) -> None:
        """Keep a checkpoint if one is due, then measure what is due and log the step.

        In this order nothing that fails while measuring costs what was learned.
        """
        config = self._config
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            self._log.sync()
            save_checkpoint(config.out, state, self._learner, config.keep)
        self._write(state, waited)

    def close(self) -> None:
        """Writes what is left, and ends the thread that writes it."""
        self._board.close()

    def _write(self, state: State, waited: float) -> None:
        config = self._config
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
        loss = self._validation.measure(self._learner.result, mismatched)
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
        if self._watch is None or not step or step % self._config.sample_every:
            return None
        try:
            sheet, obedience = self._watch.look(self._learner.result)
            self._board.add_picture(sheet, step)
            write_file(self._config.out / "samples" / f"{step:06d}.png", encode_rgb(sheet))
        except Exception as error:
            log.warning("no sample pictures at step %d, the training goes on: %s", step, describe_error(error))
            return None
        return obedience
