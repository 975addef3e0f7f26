"""What a report shows of a training: the losses that its log.jsonl holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError

Points = tuple[tuple[int, float], ...]
"""(step, loss), steps ascending."""


@dataclass(frozen=True)
class Training:
    """One run. steps: the last step logged. rate: samples/s of the last line that has it, None when none has.

    loss, validation: those that are finite. mismatched: the last validation loss with each sample under its
    neighbour's condition, None when it was not measured. diverged: the first step with a loss that is not
    finite, or None.
    """

    run: str
    steps: int
    loss: Points
    validation: Points
    rate: float | None
    diverged: int | None
    mismatched: float | None = None

    @property
    def verdict(self) -> str:
        """The first and last validation loss in words."""
        warning = "" if self.diverged is None else f" The loss was not finite at step {self.diverged}."
        if not self.validation:
            return f"No validation loss was logged.{warning}"
        (first_step, first), (last_step, last) = self.validation[0], self.validation[-1]
        if first_step == last_step:
            return f"Validation loss {first:.4g} at step {first_step}.{warning}"
        verb = "fell" if last < first else "rose" if last > first else "stayed"
        sign = "less" if last < first else "more"
        change = f", {abs(last / first - 1):.1%} {sign}" if first and last != first else ""
        ends = f"from {first:.4g} at step {first_step} to {last:.4g} at step {last_step}"
        wrong = (
            "" if self.mismatched is None else f" With another picture's condition it is {self.mismatched:.4g}."
        )
        return f"Validation loss {verb} {ends}{change}.{wrong}{warning}"


def read_training(run: Path) -> Training:
    """The training in the folder `run`. Raises RequestError when its log.jsonl is not there or not JSON lines.

    Where a step stands more than once, as after an interruption, its last line counts.
    """
    path = run / "log.jsonl"
    try:
        lines = path.read_text("utf-8").split("\n")
    except FileNotFoundError:
        raise RequestError(f"{path}: not there; --run must be the folder of a training") from None
    records = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines[:-1], 1) if line]
    mismatched = _points(records, "mismatched")
    rates = [float(r["samples_per_s"]) for r in records if r.get("samples_per_s")]
    return Training(
        run=str(run),
        steps=max((r["step"] for r in records), default=0),
        loss=_points(records, "loss"),
        validation=_points(records, "validation"),
        mismatched=mismatched[-1][1] if mismatched else None,
        rate=rates[-1] if rates else None,
        diverged=min((r["step"] for r in records if not _is_finite(r)), default=None),
    )


def _parse(line: str, where: str) -> dict[str, Any]:
    # What follows the last line end was being written when the run was killed, and is left out by the caller.
    try:
        record: dict[str, Any] = json.loads(line)
        if not isinstance(record.get("step"), int):
            raise ValueError("step must be a number")
    except (ValueError, AttributeError) as error:
        raise RequestError(f"{where}: must be a JSON object with a step ({error})") from None
    return record


def _is_finite(record: dict[str, Any]) -> bool:
    return all(math.isfinite(record[name]) for name in ("loss", "validation") if record.get(name) is not None)


def _points(records: Iterable[dict[str, Any]], name: str) -> Points:
    found = {r["step"]: float(r[name]) for r in records if r.get(name) is not None}
    return tuple((step, found[step]) for step in sorted(found) if math.isfinite(found[step]))
