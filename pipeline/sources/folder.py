"""A folder of pictures, each with its caption in a .txt file of the same stem."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from extractors.base import Resources
from extractors.budget import WORKER_MEMORY
from pipeline.errors import Drop, RequestError
from pipeline.sources.base import Opener, Original
from pipeline.sources.captions import MAX_BYTES, UNREADABLE, clean_lines, decode_file
from pipeline.sources.inside import find_files, open_inside
from pipeline.sources.row import Row

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass(frozen=True)
class FolderSource:
    """Pictures below `folder`, in the order of their paths; one without caption is dropped by name."""

    crawl: ClassVar = False

    folder: str

    def __post_init__(self) -> None:
        if not Path(self.folder).is_dir():
            raise RequestError(f"--folder must be a folder of pictures, not {self.folder!r}")
        # A worker of a cluster stands in another folder than the command.
        object.__setattr__(self, "folder", os.path.abspath(self.folder))

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "folder", "folder": self.folder}

    @property
    def repeatable(self) -> bool:
        return True

    @property
    def resources(self) -> Resources:
        return Resources(memory=WORKER_MEMORY)

    def rows(self, left_out: Counter[str]) -> Iterator[Row]:
        found = find_files(self.folder, left_out)
        names = sorted(name for name in found if Path(name).suffix.lower() in SUFFIXES)
        for index, name in enumerate(names):
            if not name.isprintable():
                raise RequestError(f"a picture's name must be printable UTF-8, not {name!r} in {self.folder}")
            yield Row(f"{index:09d}", name, self._captions(name, left_out))

    def _captions(self, name: str, notes: Counter[str]) -> tuple[str, ...]:
        try:
            return tuple(clean_lines(self._read_text(name), notes))
        except (FileNotFoundError, Drop):
            return ()

    def _read_text(self, name: str) -> str:
        with open_inside(self.folder, caption_file(name)) as file:
            return decode_file(file.read(MAX_BYTES + 1))

    def setup(self) -> None:
        """Nothing to get ready."""

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield self.open

    def open(self, row: Row) -> Original:
        """The file of a row. Drop: "no caption", "caption not readable", and of the picture or its caption
        "link out of the folder" and "not a regular file".
        """
        if not row.captions:
            raise Drop(self._why_no_caption(row.location))
        with open_inside(self.folder, row.location) as file:
            return Original(content=file.read(), captions=row.captions, info={"path": row.location})

    def _why_no_caption(self, name: str) -> str:
        try:
            self._read_text(name)
        except FileNotFoundError:
            pass
        except Drop as drop:
            return drop.reason if drop.reason == UNREADABLE else f"caption: {drop.reason}"
        return "no caption"

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


def caption_file(name: str) -> str:
    """sub/photo.txt of sub/photo.jpg"""
    return str(Path(name).with_suffix(".txt"))
