"""RUN/log.jsonl: a line per step; and which checkpoint is the best by what it says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.pipeline.runlog import LogLine, read_log
from t2i_shards.pipeline.shards.receipt import null_not_finite


class Log:
    """Appends to a file from which the lines after `step` are cut: they are about to be written again.

    last: the step of its last line, -1 when it has none. margins: see `find_margins`.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self.last, self.margins = -1, dict[int, float]()
        with replace_file(path) as scratch, scratch.open("w") as file:
            for line in read_log(path) if step else ():
                if line.step <= step:
                    file.write(_text(line))
                    self._note(line)

    def append(self, line: LogLine) -> None:
        """The line survives this process; `sync` makes it survive the machine."""
        with self._path.open("a") as file:
            file.write(_text(line))
        self._note(line)

    def _note(self, line: LogLine) -> None:
        self.last = line.step
        self.margins |= find_margins([line])

    def sync(self) -> None:
        """All lines are on the disk when this returns: to be called before a checkpoint that counts on them."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())


def _text(line: LogLine) -> str:
    return json.dumps(null_not_finite(asdict(line)), allow_nan=False) + "\n"  # older versions wrote NaN


def find_margins(lines: Iterable[LogLine]) -> dict[int, float]:
    """step -> how far the validation loss is under that with another sample's condition, where both are known."""
    return {
        line.step: line.mismatched - line.validation
        for line in lines
        if line.validation is not None and line.mismatched is not None
    }


def choose_best(margins: Mapping[int, float], steps: Iterable[int]) -> int | None:
    """The step, of these, whose adapter takes most from the condition, the earliest of equals; None if none has a
    margin.
    """
    return max(sorted(step for step in steps if step in margins), key=lambda step: margins[step], default=None)
