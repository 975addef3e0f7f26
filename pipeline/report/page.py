"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from t2i_shards import __version__
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.plain import format_duration, number_of
from t2i_shards.pipeline.report.facts import DatasetFacts
from t2i_shards.pipeline.report.index_data import encode_index, list_choices
from t2i_shards.pipeline.report.plots import BOTTOM, HEIGHT, WIDTH, draw_numbers, lay_out
from t2i_shards.pipeline.report.sample_index import shorten_location
from t2i_shards.pipeline.report.samples import Cell
from t2i_shards.pipeline.report.training import TrainingFacts

JPEG_QUALITY = 88
PNG_LEVEL = 9


def render_page(datasets: Sequence[DatasetFacts], training: TrainingFacts | None, date: str = "") -> str:
    """The page. date: of the report, as it is to be shown.

    Captions, keys and paths come from outside: the template escapes all that it prints, and the page's own policy
    lets the browser run the page's one script and fetch nothing but strips and side files, where there are any.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": partial(number_of, group=","),
        "rate": format_rate,
        "megabytes": format_megabytes,
        "seconds": format_seconds,
        "shorten": shorten_location,
    }
    environment.globals |= {
        "cell_uri": cell_uri,
        "encode_index": encode_index,
        "image_uri": image_uri,
        "list_choices": list_choices,
        "map_uri": map_uri,
        "sheet_uri": sheet_uri,
        "plot": (WIDTH, HEIGHT, BOTTOM),
        "version": __version__,
    }
    script = Markup(environment.get_template("script.js.j2").render())
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbers = [draw_numbers(dataset.tally) if dataset.tally else ([], []) for dataset in datasets]
    chart = lay_out(training, 920, 340, (56, 14, 12, 44)) if training else None
    return environment.get_template("page.html.j2").render(
        datasets=list(zip(datasets, numbers, strict=True)),
        training=training,
        chart=chart,
        date=date,
        beside=any(dataset.index.strips for dataset in datasets),
        chunked=any(dataset.index.chunks for dataset in datasets),
        script=script,
        policy=policy,
    )


def cell_uri(cell: Cell) -> Markup:
    """The cell's image as a data URI: JPEG for the picture, PNG for maps, whose edges must stay sharp."""
    assert cell.image is not None
    return image_uri(cell.image, photograph=cell.column == IMAGES)


def map_uri(cell: Cell) -> Markup:
    """The cell's image as PNG, whatever it is."""
    assert cell.image is not None
    return image_uri(cell.image, photograph=False)


def sheet_uri(cell: Cell) -> Markup:
    """The cell's image as JPEG, whatever it is."""
    assert cell.image is not None
    return image_uri(cell.image)


def image_uri(image: np.ndarray, photograph: bool = True) -> Markup:
    """uint8 (H, W, 3) RGB or (H, W) grey as a data URI."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if photograph:
        kind, data = "jpeg", cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    else:
        kind, data = "png", cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1]
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}")


def format_rate(rate: float | None) -> str:
    """Three digits are what such a measurement carries."""
    if rate is None:
        return "–"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def format_megabytes(size: int) -> str:
    return f"{size / 1e6:,.{2 if size < 1e6 else 1 if size < 1e8 else 0}f}"


def format_seconds(seconds: float) -> str:
    """In the unit in which it is read best."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else format_duration(seconds)
