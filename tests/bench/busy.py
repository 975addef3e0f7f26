"""The share of the time in which a GPU works, as its driver reports it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from types import TracebackType

EVERY = 50
"""Milliseconds between two readings."""


class Busy:
    """`share`, after the block: the mean of what nvidia-smi reported meanwhile, 0..1; None where it is not
    available.

    utilization.gpu is the share of the driver's last sampling period in which a kernel was running.
    """

    def __init__(self, device: str) -> None:
        self.share: float | None = None
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={EVERY}"]
        self._command = command if device == "cuda" and shutil.which("nvidia-smi") else None

    def __enter__(self) -> Busy:
        if self._command:
            self._asking = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._command:
            self._asking.terminate()
            said, _ = self._asking.communicate()
            looks = [float(line) for line in said.splitlines() if line.strip().isdigit()]
            self.share = statistics.mean(looks) / 100 if looks else None
