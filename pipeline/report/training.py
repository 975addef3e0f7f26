"""What a report shows of a training: the losses in its log.jsonl, its sample pictures and its evaluation."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_shards.extractors.maps import png
from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.report.samples import Cell, SheetRow, shrink
from t2i_shards.pipeline.runlog import LogLine, read_log

MOST_PREVIEWS = 12
MOST_WIDTH, MOST_HEIGHT = 640, 900
"""A sheet of sample pictures is brought inside this."""
_SHEET = re.compile(r"\d{6,9}\.png")
Points = tuple[tuple[int, float], ...]
"""(step, loss), steps ascending."""


@dataclass(frozen=True)
class EvaluationFacts:
    """verdict: in words. rows: samples, whose cells are their condition and the pictures made in each way."""

    verdict: str
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True)
class _Verdict:
    line: str


@dataclass(frozen=True)
class _Shown:
    """files: title -> path in the evaluation's folder."""

    key: str
    caption: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class _Record:
    """What of evaluation.json is shown; those written before there was a verdict have none of it."""

    verdict: _Verdict | None = None
    shown: tuple[_Shown, ...] = ()


def read_evaluation(folder: Path) -> EvaluationFacts | None:
    """None where there is none. Raises RequestError for an evaluation.json that is not one."""
    path = folder / "evaluation.json"
    try:
        record = decode_record(read_regular(path), _Record)
    except FileNotFoundError:
        return None
    except BadRecord as error:
        raise RequestError(tell_damage(str(path), str(error))) from None
    rows = tuple(_read_row(folder, shown) for shown in record.shown)
    return EvaluationFacts(record.verdict.line if record.verdict else "", rows) if rows else None


def _read_row(folder: Path, shown: _Shown) -> SheetRow:
    cells = tuple(_read_cell(folder, title, name) for title, name in shown.files.items())
    sides = [cell.image.shape[:2] for cell in cells if cell.image is not None]
    height, width = sides[0] if sides else (1, 1)
    return SheetRow(shown.key, shown.caption, width, height, cells)


def _read_cell(folder: Path, title: str, name: str) -> Cell:
    path = folder / "shown" / Path(name).name  # a record names no file elsewhere
    try:
        return Cell(title, shrink(png.decode_rgb(read_regular(path))))
    except (OSError, ValueError) as error:
        return Cell(title, None, f"cannot be drawn: {error}")


@dataclass(frozen=True)
class TrainingFacts:
    """One run. steps: the last step logged. rate: samples/s of the last line that has it, None when none has.

    loss, validation: those that are finite. mismatched: the last validation loss with each sample under its
    neighbour's condition, None when it was not measured. diverged: the first step with a loss or gradients that
    are not finite, or None. evaluation: of the adapter, where there was one. previews: sheets of sample pictures,
    by step.
    """

    run: str
    steps: int
    loss: Points
    validation: Points
    rate: float | None
    diverged: int | None
    mismatched: float | None = None
    evaluation: EvaluationFacts | None = None
    previews: tuple[SheetRow, ...] = ()

    @property
    def verdict(self) -> str:
        """The first and last validation loss in words."""
        warning = "" if self.diverged is None else f" The loss was not finite at step {self.diverged}."
        if not self.validation:
            return f"No validation loss was logged.{warning}"
        (first_step, first), (last_step, last) = self.validation[0], self.validation[-1]
        if first_step == last_step:
            return f"Validation loss {first:.4g} at step {first_step}.{warning}"
        wrong = (
            "" if self.mismatched is None else f" With another picture's condition it is {self.mismatched:.4g}."
        )
        if f"{first:.4g}" == f"{last:.4g}":
            return f"Validation loss stayed at {first:.4g} from step {first_step} to {last_step}.{wrong}{warning}"
        verb = "fell" if last < first else "rose"
        sign = "less" if last < first else "more"
        change = f", {abs(last / first - 1):.1%} {sign}" if first else ""
        ends = f"from {first:.4g} at step {first_step} to {last:.4g} at step {last_step}"
        return f"Validation loss {verb} {ends}{change}.{wrong}{warning}"


def read_training(run: Path) -> TrainingFacts:
    """The training in the folder `run`. Raises RequestError when its log.jsonl is not there or not JSON lines.

    Where a step occurs more than once, as after an interruption, its last line counts.
    """
    path = run / "log.jsonl"
    if not path.exists():
        raise RequestError(f"{path}: not there; --run must be the folder of a training")
    found: dict[str, dict[int, float]] = {"loss": {}, "validation": {}, "mismatched": {}}
    steps, rate = 0, 0.0
    diverged: int | None = None
    for line in read_log(path):
        steps, rate = max(steps, line.step), line.samples_per_s or rate
        for name, values in found.items():
            if (value := getattr(line, name)) is not None:
                values[line.step] = value
        if not _is_finite(line):
            diverged = line.step if diverged is None else min(diverged, line.step)
    points = {name: _points(values) for name, values in found.items()}
    return TrainingFacts(
        run=str(run),
        steps=steps,
        loss=points["loss"],
        validation=points["validation"],
        mismatched=points["mismatched"][-1][1] if points["mismatched"] else None,
        rate=rate or None,
        evaluation=read_evaluation(run / "evaluation"),
        previews=_read_previews(run / "samples"),
        diverged=diverged,
    )


def _read_previews(folder: Path) -> tuple[SheetRow, ...]:
    """At most MOST_PREVIEWS of the sheets, the first and the last among them."""
    try:
        names = sorted(name for name in os.listdir(folder) if _SHEET.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    last = len(names) - 1
    if last >= MOST_PREVIEWS:
        names = [names[round(i * last / (MOST_PREVIEWS - 1))] for i in range(MOST_PREVIEWS)]
    return tuple(_read_preview(folder / name) for name in names)


def _read_preview(path: Path) -> SheetRow:
    title = f"step {int(path.stem):,}"
    try:
        cell = Cell("samples", shrink(png.decode_rgb(read_regular(path)), MOST_WIDTH, MOST_HEIGHT))
    except (OSError, ValueError) as error:
        return SheetRow(title, title, 1, 1, (Cell("samples", None, f"cannot be drawn: {error}"),))
    assert cell.image is not None
    return SheetRow(title, "", cell.image.shape[1], cell.image.shape[0], (cell,))


def _is_finite(line: LogLine) -> bool:
    return not line.skipped and all(
        math.isfinite(loss) for loss in (line.loss, line.validation) if loss is not None
    )


def _points(found: Mapping[int, float]) -> Points:
    return tuple((step, found[step]) for step in sorted(found) if math.isfinite(found[step]))
