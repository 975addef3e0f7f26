"""RUN/tensorboard: the log's numbers and the sample pictures, for TensorBoard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from t2i_shards.pipeline.errors import describe_error
from t2i_shards.pipeline.runlog import LogLine

FOLDER = "tensorboard"

log = logging.getLogger(__name__)


def list_scalars(line: LogLine) -> dict[str, float]:
    """What of a line is shown as a curve, by title, and the memory of this process at this moment."""
    scalars = {
        "loss/step": line.loss,
        "loss/validation": line.validation,
        "loss/another picture's condition": line.mismatched,
        "learning rate": line.lr,
        "speed/samples per second": line.samples_per_s or None,
        "speed/seconds waiting for data": line.wait,
        "memory/GPU bytes": line.memory,
        "memory/process bytes": psutil.Process().memory_info().rss,
        **{f"obedience/{name}": value for name, value in (line.obedience or {}).items()},
    }
    return {name: value for name, value in scalars.items() if value is not None}


class TensorBoardWriter:
    """Writes what TensorBoard shows; what an earlier call wrote after `step` is marked as void.

    Nothing here raises: the first write that fails is logged, and nothing more is written. All numbers are in the
    log.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._writer: Any = None
        self._hook = threading.excepthook
        self._try(lambda: self._open(run, step))

    def add(self, line: LogLine) -> None:
        """The numbers of one step."""
        for name, value in list_scalars(line).items():
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
