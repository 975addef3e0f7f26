"""The report as one picture: a contact sheet, the loss curve, the counts."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.report.facts import DatasetFacts
from t2i_shards.pipeline.report.page import format_megabytes, format_rate
from t2i_shards.pipeline.report.plots import Chart, lay_out
from t2i_shards.pipeline.report.samples import Cell, SheetRow
from t2i_shards.pipeline.report.training import EvaluationFacts, TrainingFacts

WIDTH, MARGIN, GAP = 1600, 48, 8
ROW_HEIGHT, MOST_HEIGHT, CAPTION_WIDTH = 196, 224, 250
FIRST_LINES, OTHER_LINES = 4, 2
"""Lines of samples of the first dataset and of each other."""
LEADING = 28
"""Pixels from one line of a caption to the next."""
FEW_COLUMNS = 3
"""With no more columns than this, there are two samples to a line."""
PAGE, INK, SOFT, LINE, TRACK = "#ffffff", "#1b1c1e", "#62666d", "#e3e3df", "#ecece8"
ACCENT, THIN, BAD = "#2456d6", "#a9b4cc", "#b3261e"
Box = tuple[int, int, int, int]
"""left, top, width, height"""
OVERSAMPLING = 3
"""Pillow draws lines without antialiasing: the curve is drawn this much larger and brought down."""


def draw_sheet(datasets: Sequence[DatasetFacts], training: TrainingFacts | None) -> bytes:
    """A PNG, 1600 pixels wide, of the first rows of each dataset; the same facts give the same bytes."""
    blocks = [_title(datasets, training)]
    for number, dataset in enumerate(datasets):
        blocks.append(_heading(dataset))
        blocks += [_problem(problem) for problem in dataset.problems[:3]]
        blocks += _lines(dataset, OTHER_LINES if number else FIRST_LINES)
    if training and training.evaluation:
        blocks += _evaluation(training.evaluation)
    blocks.append(_foot(datasets, training))
    sheet = Image.new("RGB", (WIDTH, sum(block.height for block in blocks) + MARGIN), PAGE)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return data.getvalue()


def wrap(text: str, width: float, lines: int, measure: Callable[[str], float]) -> list[str]:
    """The text in at most `lines` lines no wider than `width`, cut with an ellipsis where it is longer."""
    found, line = list[str](), ""
    for word in text.split():
        while word:
            joined = f"{line} {word}" if line else word
            if measure(joined) <= width:
                line, word = joined, ""
            elif line:
                found, line = [*found, line], ""
            else:
                fits = max(1, next((n for n in range(1, len(word)) if measure(word[: n + 1]) > width), len(word)))
                found, word = [*found, word[:fits]], word[fits:]
        if len(found) > lines:
            break
    found = [*found, line] if line else found
    if len(found) > lines:
        last = found[lines - 1]
        while last and measure(f"{last}…") > width:
            last = last.rpartition(" ")[0] or last[:-1]
        found = [*found[: lines - 1], f"{last}…"]
    return found


def check_fonts() -> None:
    """Raises RequestError where the fonts that a picture is drawn with are not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(
            "report draws with the fonts of matplotlib, which is not installed: pip install 't2i-shards[report]'"
        )


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # matplotlib carries its fonts with it; what else a machine has is not known.
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _block(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), PAGE)
    return image, ImageDraw.Draw(image)


def _title(datasets: Sequence[DatasetFacts], training: TrainingFacts | None) -> Image.Image:
    image, draw = _block(128)
    draw.text((MARGIN, 34), "t2i-shards", INK, _font(42, bold=True))
    parts = [number_of(sum(d.there for d in datasets), "sample", ",")]
    parts += [number_of(sum(d.shards for d in datasets), "shard", ",")]
    parts += [number_of(training.steps, "training step", ",")] if training else []
    draw.text((MARGIN, 90), ", ".join(parts), SOFT, _font(22))
    return image


def _heading(dataset: DatasetFacts) -> Image.Image:
    image, draw = _block(86)
    draw.line((MARGIN, 16, WIDTH - MARGIN, 16), LINE, 2)
    name = dataset.title
    draw.text((MARGIN, 34), name, INK, _font(28, bold=True))
    left = MARGIN + _font(28, bold=True).getlength(name) + 22
    size = sum(column.status.bytes for column in dataset.columns)
    facts = [f"{dataset.there:,} of {number_of(dataset.planned, 'sample', ',')}"]
    facts += [number_of(len(dataset.columns), "column"), f"{format_megabytes(size)} MB", dataset.geometry]
    draw.text((left, 40), ",  ".join(facts), SOFT, _font(22))
    return image


def _evaluation(evaluation: EvaluationFacts) -> list[Image.Image]:
    """The verdict, and the first samples with the pictures made in each way."""
    image, draw = _block(126)
    draw.line((MARGIN, 16, WIDTH - MARGIN, 16), LINE, 2)
    draw.text((MARGIN, 34), "What the adapter does", INK, _font(28, bold=True))
    [text] = wrap(evaluation.verdict, WIDTH - 2 * MARGIN, 1, _font(22).getlength) or [""]
    draw.text((MARGIN, 78), text, SOFT, _font(22))
    return [image, *(_wide_line(row, labelled=n == 0) for n, row in enumerate(evaluation.rows[:FIRST_LINES]))]


def _problem(line: str) -> Image.Image:
    image, draw = _block(38)
    [text] = wrap(f"damaged, not shown: {line}", WIDTH - 2 * MARGIN, 1, _font(20).getlength) or [""]
    draw.text((MARGIN, 2), text, BAD, _font(20))
    return image


def _lines(dataset: DatasetFacts, count: int) -> list[Image.Image]:
    """Lines of samples, spread over those that the page shows."""
    rows = dataset.rows
    if len(dataset.columns) > FEW_COLUMNS:
        shown = [rows[i * len(rows) // count] for i in range(count)] if len(rows) > count else rows
        return [_wide_line(row, labelled=number == 0) for number, row in enumerate(shown)]
    shown = [rows[i * len(rows) // (2 * count)] for i in range(2 * count)] if len(rows) > 2 * count else rows
    return [_double_line(shown[i : i + 2]) for i in range(0, len(shown), 2)]


def _wide_line(row: SheetRow, labelled: bool) -> Image.Image:
    """One sample with its caption. The columns are at the same place in each line."""
    room = (WIDTH - 2 * MARGIN - CAPTION_WIDTH) // len(row.cells) - GAP
    width, height = _fit(row, room)
    top = 32 if labelled else 0
    image, draw = _block(top + height + 2 * GAP)
    for i, cell in enumerate(row.cells):
        left = MARGIN + i * (room + GAP)
        _paste(image, draw, cell, (left, top, width, height), labelled)
    left = MARGIN + len(row.cells) * (room + GAP) + 2 * GAP
    _write(draw, row.caption, (left, top - 4), WIDTH - MARGIN - left, (height + GAP) // LEADING)
    return image


def _double_line(rows: Sequence[SheetRow]) -> Image.Image:
    """Two samples side by side, of one height, that fill the line where they can; their captions below."""
    between = 4 * GAP
    room = WIDTH - 2 * MARGIN - between - sum((len(row.cells) - 1) * GAP for row in rows)
    height = min(MOST_HEIGHT, int(room / sum(len(row.cells) * row.width / row.height for row in rows)))
    image, draw = _block(32 + height + 4 * GAP + 3 * LEADING)
    left, lines = MARGIN, 0
    for row in rows:
        start, width = left, max(1, height * row.width // row.height)
        for cell in row.cells:
            _paste(image, draw, cell, (left, 32, width, height), True)
            left += width + GAP
        lines = max(lines, _write(draw, row.caption, (start, 32 + height + GAP), left - GAP - start, 3))
        left += between - GAP
    return image.crop((0, 0, WIDTH, 32 + height + lines * LEADING + 4 * GAP))


def _fit(row: SheetRow, room: int) -> tuple[int, int]:
    """(width, height) of the row's pictures, at most `room` wide and ROW_HEIGHT high."""
    scale = min(room / row.width, ROW_HEIGHT / row.height)
    return max(1, int(row.width * scale)), max(1, int(row.height * scale))


def _write(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, most: int) -> int:
    """Write the text in at most `most` lines; how many it took."""
    lines = wrap(text, width, most, _font(21).getlength)
    for i, line in enumerate(lines):
        draw.text((at[0], at[1] + LEADING * i), line, INK, _font(21))
    return len(lines)


def _paste(image: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, box: Box, labelled: bool) -> None:
    left, top, width, height = box
    if labelled:
        draw.text((left, top - 30), "picture" if cell.column == IMAGES else cell.column, SOFT, _font(19))
    if cell.image is not None:
        shown = Image.fromarray(np.ascontiguousarray(cell.image)).convert("RGB")
        image.paste(shown.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        return
    draw.rectangle((left, top, left + width - 1, top + height - 1), TRACK)
    for i, line in enumerate(wrap(cell.note, width - 24, 4, _font(18).getlength)):
        draw.text((left + 12, top + 12 + 26 * i), line, SOFT, _font(18))


def _foot(datasets: Sequence[DatasetFacts], training: TrainingFacts | None) -> Image.Image:
    """The curve on the left, samples/s and drops on the right."""
    table, right = _table(datasets, training), 940 if training else MARGIN
    image, draw = _block(max(480 if training else 0, 90 + 34 * len(table)) + 16)
    draw.line((MARGIN, 16, WIDTH - MARGIN, 16), LINE, 2)
    if training:
        _training(image, draw, training)
    for i, (name, value, bold) in enumerate(table):
        y, font = 38 + 34 * i, _font(22, bold)
        [text] = wrap(name, WIDTH - MARGIN - right - 130, 1, font.getlength) or [""]
        draw.text((right, y), text, INK, font)
        draw.text((WIDTH - MARGIN, y), value, SOFT if bold else INK, _font(20 if bold else 22), anchor="ra")
    return image


def _table(datasets: Sequence[DatasetFacts], training: TrainingFacts | None) -> list[tuple[str, str, bool]]:
    """(name, value, is a heading) of the lines next to the curve."""
    table = list[tuple[str, str, bool]]()
    for dataset in datasets:
        table.append((dataset.title, "samples/s per worker", True))
        timed = [c for c in dataset.columns if c.rate is not None]
        table += [(c.status.column, format_rate(c.rate), False) for c in timed]
        table += [(f"{c} dropped: {reason}", f"{n:,}", False) for c, reason, n, _ in dataset.drops[:3]]
    if training and training.rate:
        table += [("Training", "samples/s", True), ("all steps", format_rate(training.rate), False)]
    return table


def _training(image: Image.Image, draw: ImageDraw.ImageDraw, training: TrainingFacts) -> None:
    draw.text((MARGIN, 36), "Training", INK, _font(24, bold=True))
    for i, line in enumerate(wrap(training.verdict, 820, 2, _font(20).getlength)):
        draw.text((MARGIN, 74 + 27 * i), line, SOFT, _font(20))
    chart = lay_out(training, 850, 340, (76, 12, 16, 66))
    if chart is not None:
        image.paste(_curve(chart), (MARGIN, 140))


def _curve(chart: Chart) -> Image.Image:
    scale = OVERSAMPLING
    image = Image.new("RGB", (chart.width * scale, chart.height * scale), PAGE)
    draw = ImageDraw.Draw(image)

    def line(points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        draw.line([(x * scale, y * scale) for x, y in points], colour, round(width * scale), joint="curve")

    for y, _ in chart.y_ticks:
        line([(chart.left, y), (chart.right, y)], LINE, 1)
    line(chart.loss, THIN, 1.5)
    line(chart.validation, ACCENT, 3.5)
    if len(chart.validation) <= 40:
        for x, y in chart.validation:
            draw.circle((x * scale, y * scale), 5.5 * scale, ACCENT)
    image = image.resize((chart.width, chart.height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for y, label in chart.y_ticks:
        draw.text((chart.left - 12, y), label, SOFT, _font(18), anchor="rm")
    for x, label in chart.x_ticks:
        draw.text((x, chart.bottom + 10), label, SOFT, _font(18), anchor="ma")
    below = chart.bottom + 40
    draw.text((chart.right, below), "training step", SOFT, _font(18), anchor="ra")
    for left, name, colour in ((chart.left, "validation", ACCENT), (chart.left + 170, "training", THIN)):
        draw.line((left, below + 12, left + 26, below + 12), colour, 4 if colour == ACCENT else 2)
        draw.text((left + 36, below), name, SOFT, _font(18))
    return image
