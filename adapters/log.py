"""Writing RUN/log.jsonl (`pipeline.runlog`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.runlog import LogLine, read_log

__all__ = ["Log", "LogLine", "read_log"]


class Log:
    """Appends to a file from which the lines after `step` are cut: they are about to be written again."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = [line for line in read_log(path) if line.step <= step] if step else []
        scratch = path.with_name(f".{path.name}.part")
        _write(scratch, kept)
        scratch.rename(path)

    def append(self, line: LogLine) -> None:
        """The line survives this process; `sync` makes it survive the machine."""
        with self._path.open("a") as file:
            file.write(_text(line))

    def sync(self) -> None:
        """All lines are on the disk when this returns: to be called before a checkpoint that counts on them."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())


def _text(line: LogLine) -> str:
    return json.dumps(asdict(line)) + "\n"


def _write(path: Path, lines: Iterable[LogLine]) -> None:
    with path.open("w") as file:
        file.writelines(map(_text, lines))
        file.flush()
        os.fsync(file.fileno())
