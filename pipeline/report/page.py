"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.report.captions import Captions
from t2i_shards.pipeline.report.facts import DatasetFacts
from t2i_shards.pipeline.report.plots import BOTTOM, HEIGHT, WIDTH, draw_numbers, lay_out
from t2i_shards.pipeline.report.samples import Cell
from t2i_shards.pipeline.report.training import Training

JPEG_QUALITY = 88
PNG_LEVEL = 9


def render_page(datasets: Sequence[DatasetFacts], training: Training | None) -> str:
    """The page. Captions, keys and paths come from outside: the template escapes all that it prints, and the
    page's own policy lets the browser run the page's one script and fetch nothing.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": format_count,
        "rate": format_rate,
        "megabytes": format_megabytes,
        "seconds": format_seconds,
        "searchable": to_script,
    }
    environment.globals |= {"cell_uri": cell_uri, "image_uri": image_uri, "plot": (WIDTH, HEIGHT, BOTTOM)}
    script = Markup(environment.get_template("script.js.j2").render())
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbers = [draw_numbers(dataset.tally) if dataset.tally else ([], []) for dataset in datasets]
    chart = lay_out(training, 920, 340, (56, 14, 12, 44)) if training else None
    return environment.get_template("page.html.j2").render(
        datasets=list(zip(datasets, numbers, strict=True)),
        training=training,
        chart=chart,
        script=script,
        policy=policy,
    )


def to_script(captions: Captions) -> Markup:
    """[[key, captions], …] as JSON that is safe in a script element whatever the captions hold."""
    text = json.dumps([[e.key, e.text] for e in captions.entries], ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":  # of "</script>", "<!--" and entities; JSON has them nowhere but in strings
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def cell_uri(cell: Cell) -> Markup:
    """The cell's image as a data URI: JPEG for the picture, PNG for maps, whose edges must stay sharp."""
    assert cell.image is not None
    return image_uri(cell.image, photograph=cell.column == IMAGES)


def image_uri(image: np.ndarray, photograph: bool = True) -> Markup:
    """uint8 (H, W, 3) RGB or (H, W) grey as a data URI."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if photograph:
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


def format_seconds(seconds: float) -> str:
    """In the unit in which it is read best."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
