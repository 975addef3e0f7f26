"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.dataset import IMAGES
from pipeline.report.chart import lay_out
from pipeline.report.collect import DatasetFacts
from pipeline.report.rows import Cell
from pipeline.report.training import Training

JPEG_QUALITY = 88
PNG_LEVEL = 9


def render_page(datasets: Sequence[DatasetFacts], training: Training | None) -> str:
    """The page. Captions, keys and paths come from strangers: the template escapes all that it prints."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": format_count, "rate": format_rate, "megabytes": format_megabytes}
    environment.globals |= {"data_uri": data_uri}
    chart = lay_out(training, 920, 340, (56, 14, 12, 44)) if training else None
    return environment.get_template("page.html.j2").render(datasets=datasets, training=training, chart=chart)


def data_uri(cell: Cell) -> Markup:
    """The cell's image as a data URI: JPEG for the picture, PNG for maps, whose edges must stay sharp."""
    assert cell.image is not None
    bgr = cell.image if cell.image.ndim == 2 else cv2.cvtColor(cell.image, cv2.COLOR_RGB2BGR)
    if cell.column == IMAGES:
        kind, data = "jpeg", cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    else:
        kind, data = "png", cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1]
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}")


def format_count(number: int) -> str:
    return f"{number:,}"


def format_rate(rate: float | None) -> str:
    """Three digits are what such a measurement carries."""
    if rate is None:
        return "–"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def format_megabytes(size: int) -> str:
    return f"{size / 1e6:,.{2 if size < 1e6 else 1 if size < 1e8 else 0}f}"
