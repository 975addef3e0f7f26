"""RUN/log.jsonl: a JSON object per line, one per step, and one for step 0, before anything was learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.extractors.regular import open_regular
from t2i_shards.pipeline.errors import RequestError

MOST_BYTES = 1 << 16
"""Of a line; those that are written have less than a thousand."""


@dataclass(frozen=True)
class LogLine:
    """One step.

    loss: of the step's batch; None at step 0, and where it was not finite. validation: loss over the held-out
    samples, at time steps and noise that never change; None where it was not measured or not finite. mismatched:
    the same with each sample given its neighbour's condition: how far it lies above `validation` is what the
    adapter takes from the condition. seconds: of training, all interruptions left out. samples_per_s: since the
    training began. wait: seconds of this step in which it waited for data. memory: the most bytes of the GPU's
    memory that the training has held, None on the CPU. obedience: how closely sample pictures follow the
    condition, where it was measured. skipped: steps so far that were not taken
    because loss or gradients were not finite. lr: the learning rate of the step.
    """

    step: Count
    loss: float | None = None
    validation: float | None = None
    mismatched: float | None = None
    seconds: float = 0.0
    samples_per_s: float = 0.0
    wait: float = 0.0
    memory: int | None = None
    obedience: Mapping[str, float] | None = None
    skipped: int = 0
    lr: float | None = None


def parse_line(text: str | bytes, where: str) -> LogLine:
    """What a line says; of fields that are not known here, nothing. Raises RequestError."""
    try:
        return decode_record(text.encode() if isinstance(text, str) else text, LogLine)
    except BadRecord as error:
        raise RequestError(f"{where}: must be a JSON object with a step ({error}); delete that line") from None


def read_log(path: Path) -> Iterator[LogLine]:
    """The lines of a log, none if there is no file. Raises RequestError for one that is not of a log.

    What follows the last line end was being written when the run was killed, and is left out.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    number = 0
    with file:
        while (text := file.readline(MOST_BYTES)).endswith(b"\n"):
            number += 1
            if text != b"\n":
                yield parse_line(text, f"{path}, line {number}")
    # A line without an end is the last one that is read: what comes meanwhile may be the rest of it.
    if len(text) == MOST_BYTES:
        raise RequestError(
            f"{path}, line {number + 1}: must be a line of a log, of fewer than {MOST_BYTES} bytes; delete it"
        )
