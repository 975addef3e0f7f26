"""What the first worker writes while it trains: the log, TensorBoard or wandb, sample pictures, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch

from t2i_shards.adapters.training.boards import Board, TensorBoardWriter, WandbWriter
from t2i_shards.adapters.training.checkpoint import TrainProgress, TrainState, list_steps, save_checkpoint
from t2i_shards.adapters.training.config import TrainConfig, flatten_options
from t2i_shards.adapters.training.log import Log, choose_best
from t2i_shards.adapters.training.preview import SamplePreview
from t2i_shards.adapters.training.validation import Validation, refuse_not_finite
from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.maps.png import encode_rgb
from t2i_shards.pipeline.errors import describe_error
from t2i_shards.pipeline.runlog import LogLine

log = logging.getLogger(__name__)


class Recorder:
    """Records each step of a training of so many steps, from `progress` on.

    watch: makes the sample pictures, None for none. device: whose memory is measured. Raises RequestError where
    the validation loss is not finite before anything was learned.
    """

    def __init__(
        self,
        config: TrainConfig,
        steps: int,
        train_state: TrainState,
        validation: Validation,
        progress: TrainProgress,
        device: torch.device,
        watch: SamplePreview | None = None,
    ) -> None:
        self._config, self._steps, self._train_state, self._validation = config, steps, train_state, validation
        self._device, self._sample_preview = device, watch
        self._on_step: Callable[[LogLine], None] | None = None
        self._first: LogLine | None = None
        self._log = Log(config.out / "log.jsonl", progress.step)
        self._boards: list[Board] = [TensorBoardWriter(config.out, progress.step)]
        if config.record.report_to == "wandb":
            self._boards.append(WandbWriter(config.out, dict(flatten_options(config))))
        if self._log.last != progress.step:  # the first of all, or one whose checkpoint was saved but not logged
            self._first = self._write(progress, 0.0)

    def follow(self, on_step: Callable[[LogLine], None] | None) -> None:
        """Call `on_step` with each line that is logged, including the one from before the first step."""
        self._on_step = on_step
        if on_step and self._first:
            on_step(self._first)

    @property
    def memory(self) -> int | None:
        """The most bytes of the GPU's memory that this process has held; None on the CPU."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None

    @property
    def best_step(self) -> int | None:
        """Of the checkpoints that are kept, the one whose validation is best."""
        return choose_best(self._log.margins, list_steps(self._config.out))

    def record(self, progress: TrainProgress, waited: float, lr: float) -> None:
        """Keep a checkpoint if one is due, then measure what is due and log the step, taken at the rate `lr`.

        In this order nothing that fails while measuring costs what was learned.
        """
        config = self._config
        if progress.step % config.record.checkpoint_every == 0 or progress.step == self._steps:
            self._log.sync()
            save_checkpoint(config.out, progress, self._train_state, config.record.keep, self.best_step)
        line = self._write(progress, waited, lr)
        if self._on_step:
            self._on_step(line)

    def close(self) -> None:
        """Writes what is left, and ends the thread that writes it."""
        for board in self._boards:
            board.close()

    def _write(self, progress: TrainProgress, waited: float, lr: float | None = None) -> LogLine:
        config = self._config
        due = progress.step % config.record.validate_every == 0 or progress.step == self._steps
        line = LogLine(
            step=progress.step,
            loss=progress.loss,
            validation=self._validate(progress.step) if due else None,
            mismatched=self._validate(progress.step, mismatched=True) if due else None,
            seconds=round(progress.seconds, 3),
            samples_per_s=round(progress.step * config.optimizer.batch / progress.seconds, 2)
            if progress.step
            else 0.0,
            wait=round(waited, 4),
            memory=self.memory,
            obedience=self._render_preview(progress.step),
            skipped=progress.skipped,
            lr=lr,
        )
        self._log.append(line)
        for board in self._boards:
            board.add(line)
        return line

    def _validate(self, step: int, mismatched: bool = False) -> float | None:
        """The validation loss; None where it is not finite, which is logged."""
        loss = self._validation.measure(self._train_state.result, mismatched)
        if math.isfinite(loss):
            return loss
        if step == 0:
            refuse_not_finite(loss)
        log.warning("the validation loss at step %d is not finite", step)
        return None

    def _render_preview(self, step: int) -> dict[str, float] | None:
        """Make the sample pictures that are due, and measure them. None where none are due or that failed."""
        if self._sample_preview is None or not step or step % self._config.record.sample_every:
            return None
        try:
            sheet, fidelity = self._sample_preview.render(self._train_state.result)
            write_file(self._config.out / "samples" / f"{step:06d}.png", encode_rgb(sheet))
            for board in self._boards:
                board.add_picture(sheet, step)
        except Exception as error:
            log.warning("no sample pictures at step %d, the training continues: %s", step, describe_error(error))
            return None
        return fidelity
