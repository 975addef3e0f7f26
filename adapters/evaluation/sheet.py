"""The first samples of an evaluation, to look at: a sheet, and a file for each picture that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.grid import lay_out
from t2i_shards.adapters.evaluation.variants import EvalExamples, Pictures
from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.maps import png

SHOWN = 8
"""Samples."""
FOLDER = "shown"
CONDITION, PICTURE = "condition", "true picture"


def write_sheet(out: Path, examples: EvalExamples, made: Mapping[str, Pictures]) -> list[dict[str, Any]]:
    """sheet.png and the folder `shown`. made: title -> pictures, a column each.

    The record of what is shown: the key and caption of each sample, and the file in the folder by title.
    """
    count = min(SHOWN, len(examples))
    columns = {
        CONDITION: [
            np.broadcast_to(examples[place].control_image, examples[place].picture.shape) for place in range(count)
        ],
        **{title: list(islice(pictures(), count)) for title, pictures in made.items()},
        PICTURE: [examples[place].picture for place in range(count)],
    }
    shown = []
    for place in range(count):
        files = {title: f"{FOLDER}/{place}-{title.replace(' ', '-')}.png" for title in columns}
        for title, name in files.items():
            write_file(out / name, png.encode_rgb(np.ascontiguousarray(columns[title][place])))
        shown.append({"key": examples[place].key, "caption": examples[place].caption, "files": files})
    rows = list(zip(*columns.values(), strict=True))
    captions = [sample["caption"] for sample in shown]
    write_file(out / "sheet.png", png.encode_rgb(lay_out(rows, list(columns), captions)))
    return shown
