"""One sheet of all conditions, to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.grid import GAP, WHITE, lay_out
from t2i_shards.adapters.evaluation.report import CONDITION, PICTURE
from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.maps import png

SCENES = 3
TITLES = (CONDITION, "with", "without", PICTURE)


def write_overview(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """OUT/overview.png: scenes, and under each of their conditions the picture made with it.

    The first column has the true picture above the one that text alone makes. Scenes that have nothing of a
    condition, such as those without people, are left out. rows: the records of rows 1 to 3, a condition each;
    those whose pictures are no longer there are left out.
    """
    made, captions = dict[str, list[dict[str, np.ndarray]]](), list[str]()
    for row in rows:
        if pictures := _read(out, row):
            made[row["about"]["condition"]] = pictures
            captions = [sample["caption"] for sample in row["shown"]]
    if not made:
        return
    first = next(iter(made.values()))
    places = [
        place for place in range(len(first)) if all(shown[place][CONDITION].any() for shown in made.values())
    ]
    sheet = [
        [
            _pair(first[place], PICTURE, "without"),
            *(_pair(shown[place], CONDITION, "with") for shown in made.values()),
        ]
        for place in places[:SCENES]
    ]
    said = [captions[place] for place in places[:SCENES]]
    if not sheet:
        return
    path, data = out / "overview.png", png.encode_rgb(lay_out(sheet, ["true, text alone", *made], said))
    if not path.exists() or path.read_bytes() != data:
        write_file(path, data)


def _read(out: Path, row: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
    """By title, of each scene; none where one is gone."""
    folder = out / row["about"]["condition"]
    try:
        return [
            {title: png.decode_rgb((folder / sample["files"][title]).read_bytes()) for title in TITLES}
            for sample in row.get("shown", ())
        ]
    except FileNotFoundError:
        return []


def _pair(pictures: Mapping[str, np.ndarray], above: str, below: str) -> np.ndarray:
    upper, lower = pictures[above], pictures[below]
    return np.concatenate([upper, np.full((GAP, *upper.shape[1:]), WHITE, np.uint8), lower])
