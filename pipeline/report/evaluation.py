"""What a report shows of an evaluation: whether the condition is followed, and the pictures that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_shards.extractors.maps import png
from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.report.samples import Cell, Row, shrink


@dataclass(frozen=True)
class Evaluation:
    """verdict: in words. rows: samples, whose cells are their condition and the pictures made in each way."""

    verdict: str
    rows: tuple[Row, ...]


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


def read_evaluation(folder: Path) -> Evaluation | None:
    """None where there is none. Raises RequestError for an evaluation.json that is not one."""
    path = folder / "evaluation.json"
    try:
        record = decode_record(read_regular(path), _Record)
    except FileNotFoundError:
        return None
    except BadRecord as error:
        raise RequestError(f"{path} {error}") from None
    rows = tuple(_read_row(folder, shown) for shown in record.shown)
    return Evaluation(record.verdict.line if record.verdict else "", rows) if rows else None


def _read_row(folder: Path, shown: _Shown) -> Row:
    cells = tuple(_read_cell(folder, title, name) for title, name in shown.files.items())
    sides = [cell.image.shape[:2] for cell in cells if cell.image is not None]
    height, width = sides[0] if sides else (1, 1)
    return Row(shown.key, shown.caption, width, height, cells)


def _read_cell(folder: Path, title: str, name: str) -> Cell:
    path = folder / "shown" / Path(name).name  # a record names no file elsewhere
    try:
        return Cell(title, shrink(png.decode_rgb(read_regular(path))))
    except (OSError, ValueError) as error:
        return Cell(title, None, f"cannot be drawn: {error}")
