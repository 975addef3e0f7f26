"""RUN/log.jsonl: a JSON object per line, one per step, and one for step 0, before anything was learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class LogLine:
    """One step.

    loss: of the step's batch; None at step 0. validation: loss over the held-out samples, at time steps and noise
    that never change; None where it was not measured. mismatched: the same with each sample given its neighbour's
    condition: how far it lies above `validation` is what the adapter takes from the condition. seconds: of
    training, all interruptions left out. samples_per_s: since the training began. wait: seconds of this step in
    which it waited for data. memory: the most bytes of the GPU's memory that the training has held, None on the
    CPU. obedience: how far sample pictures obey, where it was measured.
    """

    step: int
    loss: float | None
    validation: float | None
    mismatched: float | None
    seconds: float
    samples_per_s: float
    wait: float = 0.0
    memory: int | None = None
    obedience: Mapping[str, float] | None = None


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


def read_log(path: Path) -> Iterator[LogLine]:
    """The lines of a log, none if there is no file; a last one that was cut off by a kill is left out."""
    if not path.exists():
        return
    for text in path.read_text().splitlines(keepends=True):
        if text.endswith("\n"):
            yield LogLine(**json.loads(text))


def _text(line: LogLine) -> str:
    return json.dumps(asdict(line)) + "\n"


def _write(path: Path, lines: Iterable[LogLine]) -> None:
    with path.open("w") as file:
        file.writelines(map(_text, lines))
        file.flush()
        os.fsync(file.fileno())
