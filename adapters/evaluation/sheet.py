"""The first samples of an evaluation, to look at: a sheet, and a file for each picture that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.grid import lay_out
from t2i_shards.adapters.evaluation.picture_sets import EvalExamples, Pictures
from t2i_shards.adapters.evaluation.report import ANOTHER, CEILING, CONDITION, PICTURE, WITH, WITHOUT
from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.maps import png

SHOWN = 8
"""Samples."""
FOLDER = "shown"
ANOTHERS = "another's"
"""The condition of another sample, next to the picture that was made with it."""
COLUMNS = {"without": WITHOUT, "with": WITH, f"with {ANOTHERS}": ANOTHER, "autoencoder": CEILING}
"""Short titles of sets of pictures, for above small ones, in the order in which they are shown."""


def write_sheet(
    out: Path, examples: EvalExamples, wrong: Sequence[int], made: Mapping[str, Pictures]
) -> list[dict[str, Any]]:
    """sheet.png and the folder `shown`. wrong: whose condition each sample got as another's. made: by title.

    The record of what is shown: the key and caption of each sample, and the file in the folder by title.
    """
    count = min(SHOWN, len(examples))
    columns = {CONDITION: _show_conditions(examples, range(count))}
    for short, title in COLUMNS.items():
        if title == ANOTHER:
            columns[ANOTHERS] = _show_conditions(examples, wrong[:count])
        columns[short] = list(islice(made[title](), count))
    columns[PICTURE] = [examples[place].picture for place in range(count)]
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


def _show_conditions(examples: EvalExamples, places: Sequence[int]) -> list[np.ndarray]:
    return [np.broadcast_to(examples[place].control_image, examples[place].picture.shape) for place in places]
