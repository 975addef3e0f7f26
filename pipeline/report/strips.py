"""Strips: a sample's picture and maps, small and side by side, in files next to a page that shows them all."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from t2i_shards.extractors.atomic import commit_folder
from t2i_shards.extractors.regular import NotRegular, read_regular
from t2i_shards.pipeline.report.samples import SheetRow
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.sample import is_key

MAX_WIDTH, MAX_HEIGHT = 384, 256
"""Each picture of a strip is brought inside this."""
QUALITY, METHOD = 75, 1
"""Of WebP. Method 1 takes 7 ms for six pictures, and 18 kB; the default 4 takes 18 ms and 15 kB."""
MARK = "README.txt"
MARK_TEXT = (
    b"Small pictures for the page next to this folder, made by t2i-shards report --all, which replaces them.\n"
)
FOLDER = re.compile(r"d\d+(/\d{6,})?")
"""A folder of it: of one dataset, and in that of one shard."""
FILE = re.compile(r"d\d+/\d{6,}/([^/]+\.webp|samples-\d+\.js)")
"""A file of it besides MARK: a strip, or a side file."""
LONGEST_KEY = 200
"""Bytes of a key that fit into a file's name."""


def encode_strip(row: SheetRow) -> bytes:
    """WebP of the row's cells side by side, all of one size; those without a picture are black."""
    scale = min(1.0, MAX_WIDTH / row.width, MAX_HEIGHT / row.height)
    width, height = max(1, round(row.width * scale)), max(1, round(row.height * scale))
    strip = np.zeros((height, len(row.cells) * width, 3), np.uint8)
    for at, cell in enumerate(row.cells):
        if cell.image is not None:
            small = cv2.resize(cell.image, (width, height), interpolation=cv2.INTER_AREA)
            strip[:, at * width : (at + 1) * width] = small if small.ndim == 3 else small[:, :, None]
    data = io.BytesIO()
    Image.fromarray(strip).save(data, "WEBP", quality=QUALITY, method=METHOD)
    return data.getvalue()


@dataclass(frozen=True)
class Beside:
    """The folder for the files of one dataset next to a page. name: as the page finds it."""

    folder: Path
    name: str


def folder_of(page: Path) -> Path:
    """report_files next to report.html, as browsers name such a folder."""
    return page.with_name(f"{page.stem}_files")


def is_ours(folder: Path) -> bool:
    """Whether it is a folder, and no link, that an earlier report has made and nobody has added to."""
    try:
        marked = not folder.is_symlink() and read_regular(folder / MARK) == MARK_TEXT
        return marked and all(map(_holds_ours, repeat(folder), os.walk(folder)))
    except (FileNotFoundError, NotADirectoryError, NotRegular):
        return False


def _holds_ours(folder: Path, walked: tuple[str, list[str], list[str]]) -> bool:
    """Whether all in one folder below is what a report makes: what `os.walk` gives of it."""
    path, folders, files = walked
    place = os.path.relpath(path, folder)
    below = "" if place == "." else f"{place}/"
    return all(
        FOLDER.fullmatch(f"{below}{name}") and not os.path.islink(f"{path}/{name}") for name in folders
    ) and all(FILE.fullmatch(f"{below}{name}") or f"{below}{name}" == MARK for name in files)


@contextmanager
def replace_strips(folder: Path) -> Iterator[Path]:
    """A folder to write strips to, which takes the name `folder` at the end of the block."""
    with commit_folder(folder, sync=False) as scratch:
        (scratch / MARK).write_bytes(MARK_TEXT)
        yield scratch


def name_strip(shard: int, key: str) -> str:
    """Where the strip of a sample lies among the files of its dataset: 000012/key.webp."""
    return f"{shard_name(shard)}/{key}.webp"


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each to its path in the folder."""
    for parent in {(folder / path).parent for path in files}:
        parent.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (folder / path).write_bytes(data)


def fits(key: str) -> bool:
    """Whether a strip can be named after the key."""
    return is_key(key) and len(key) <= LONGEST_KEY
