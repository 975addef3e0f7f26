"""How a training ended: RUN/summary.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2i_shards.adapters.records import read_record

SUMMARY = "summary.json"


@dataclass(frozen=True)
class TrainSummary:
    """A finished run. new_steps: those done by this call, 0 when there was nothing left to do.

    first_validation, last_validation: the validation loss before the first step and after the last. samples,
    seconds: of all calls together. wait: share of the time that this call waited for data.
    memory: the most bytes of the GPU that it held, None on the CPU. skipped: steps that were not taken because
    loss or gradients were not finite. best_step: of the checkpoint whose validation loss lies furthest under that
    with another sample's condition, of those that are kept and were validated.
    """

    steps: int
    new_steps: int
    samples: int
    seconds: float
    first_validation: float
    last_validation: float
    adapter: str
    base_digest: str
    wait: float = 0.0
    memory: int | None = None
    skipped: int = 0
    best_step: int | None = None


def read_summary(run: Path) -> TrainSummary | None:
    """The summary of a run that was finished, else None. Raises RequestError for a damaged one."""
    path = run / SUMMARY
    return read_record(path, TrainSummary, closed=True) if path.exists() else None
