"""Files that are read and never written: those of a pattern, in a folder or in any place that fsspec knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from t2i_shards.extractors.regular import open_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.shards.naming import check_path
from t2i_shards.pipeline.shards.remote_read import find_below, open_filesystem, translate_errors

NO_RANGES = "its server must answer requests for parts of a file (Range), and does not; fetch it and name the copy"
"""Of a file that has to be read from several places."""
READ_AHEAD = 1 << 20
"""Bytes that are asked for at once where a file lies far away and is read in its order."""


@dataclass(frozen=True)
class InputFile:
    """name: below the base of its pattern. path: as it is shown. size: in bytes; None where a web server
    does not say.

    open: gives a stream that can seek, and that reads no more than it is asked for.
    """

    name: str
    path: str
    size: int | None
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Pattern:
    """A glob, a folder, or one file, on this machine or at a URL. endings: of the files that count in a folder."""

    pattern: str
    endings: tuple[str, ...]

    @property
    def base(self) -> str:
        """The folder or URL below which all its files lie; absolute, for workers have other working folders."""
        place = self.pattern.removeprefix("file://")
        parts = place.split("/")
        wild = next((i for i, part in enumerate(parts) if _is_wild(part)), None)
        if wild is None and place.lower().endswith(self.endings):
            wild = len(parts) - 1
        base = "/".join(parts[:wild]) or ("/" if place.startswith("/") else ".")
        return base.rstrip("/") if "://" in base else os.path.abspath(base)

    def find(self) -> list[InputFile]:
        """The files, by name. Hidden ones, which a Mac leaves next to others, are ignored. Raises RequestError."""
        fs, place = open_filesystem(self.pattern)
        fs.invalidate_cache()  # a process may ask again after days
        try:
            with translate_errors(self.pattern):
                if _is_wild(self.pattern):
                    found = fs.glob(place, detail=True)
                elif place.lower().endswith(self.endings):
                    found = self._find_one(fs, place)
                else:
                    found = find_below(fs, place)
                    found = {path: info for path, info in found.items() if path.lower().endswith(self.endings)}
        except FileNotFoundError as error:  # of a bucket, whose client does not name it
            raise RequestError(f"cannot read {hide_secrets(self.pattern)}: {error}") from None
        _, base = open_filesystem(self.base)
        files: list[InputFile] = []
        for path, info in sorted(found.items()):
            name = os.path.relpath(path, base)
            if info["type"] == "file" and not any(part.startswith(".") for part in name.split("/")):
                files.append(InputFile(name, path, info["size"], partial(fs.open, path, "rb", cache_type="none")))
        return files

    def _find_one(self, fs: Any, place: str) -> dict[str, Any]:
        try:
            with translate_errors(self.pattern):
                return {place: fs.info(place)}
        except FileNotFoundError:
            return {}

    def open(self, name: str) -> BinaryIO:
        """One of the files, to read in its order. Raises RequestError, OSError."""
        check_path(self.base, name)
        if "://" not in self.base:
            return open_regular(Path(self.base) / name)
        fs, base = open_filesystem(self.base)
        with translate_errors(self.base):
            file: BinaryIO = fs.open(f"{base}/{name}", "rb", cache_type="readahead", block_size=READ_AHEAD)
            return file


def has_no_ranges(error: Exception) -> bool:
    """Whether this was raised for a file that can only be read from its start to its end, as fsspec says it."""
    return isinstance(error, ValueError) and "seek streaming" in str(error)


def _is_wild(text: str) -> bool:
    return any(sign in text for sign in "*?[")
