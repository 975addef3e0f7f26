"""What the first worker writes while it trains: the log, TensorBoard, sample pictures, checkpoints."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from adapters.loop import Training

WATCHED = 4
"""Held-out samples of which pictures are made."""


class Recorder:
    """Records each step of a training, from `state` on. progress: is told each line after it is logged."""

    def __init__(
        self, training: Training, learner: Learner, state: State, progress: Callable[[LogLine], None] | None
    ) -> None:
        config = training.config
        self._training, self._learner, self._progress = training, learner, progress
        self._log = Log(config.out / "log.jsonl", state.step)
        self._board = Board(config.out, state.step)
        self._watch = self._begin_to_watch() if config.sample_every else None
        if state.step == 0:
            self._write(state, None, 0.0)

    @property
    def memory(self) -> int | None:
        """The most bytes of the GPU's memory that this process has held; None on the CPU."""
        device = self._training.world.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

    def record(self, state: State, loss: float, waited: float) -> None:
        """Log the step, measure what is due, and keep a checkpoint if one is due."""
        config = self._training.config
        self._write(state, loss, waited)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            self._log.sync()
            save_checkpoint(config.out, state, self._learner, config.keep)

    def close(self) -> None:
        """Writes what is left, and ends the thread that writes it."""
        self._board.close()

    def _write(self, state: State, loss: float | None, waited: float) -> None:
        training, config = self._training, self._training.config
        due = state.step % config.validate_every == 0 or state.step == config.steps
        measure = training.validation.measure
        line = LogLine(
            step=state.step,
            loss=loss,
            validation=measure(training.result) if due else None,
            mismatched=measure(training.result, mismatched=True) if due else None,
            seconds=round(state.seconds, 3),
            samples_per_s=round(state.step * config.batch / state.seconds, 2) if state.step else 0.0,
            wait=round(waited, 4),
            memory=self.memory,
            obedience=self._look(state.step),
        )
        self._log.append(line)
        self._board.add(line)
        if self._progress:
            self._progress(line)

    def _look(self, step: int) -> dict[str, float] | None:
        """Sample pictures, and how far they obey, where they are due."""
        if self._watch is None or not step or step % self._training.config.sample_every:
            return None
        sheet, obedience = self._watch.look(self._training.result)
        self._board.add_picture(sheet, step)
        path = self._training.config.out / "samples" / f"{step:06d}.png"
        write_file(path, encode_rgb(sheet))
        return obedience

    def _begin_to_watch(self) -> Watch:
        training, config = self._training, self._training.config
        extractor = load_extractor(config.condition, config, training.base.device)
        size = training.framing.size
        assert size is not None
        samples = training.held_out[:WATCHED]
        batch = training.share.micro
        return Watch(training.base, samples, config.condition, size, extractor, seed=config.seed, batch=batch)
