"""RUN/tensorboard: the log's numbers and the sample pictures, for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adapters.log import LogLine

FOLDER = "tensorboard"


class Board:
    """Writes what TensorBoard shows; what an earlier call wrote after `step` is marked as void."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter(str(run / FOLDER), purge_step=step + 1 if step else None)
        self._writer = writer

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
                self._writer.add_scalar(name, value, line.step)

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        """uint8 (H, W, 3): a sheet of sample pictures."""
        self._writer.add_image("samples", picture, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
