"""Files that are read and never written: of a folder, or of any place that fsspec knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from pipeline.errors import RequestError
from pipeline.shards.remote_read import reaching


def open_files(pattern: str) -> list[tuple[str, int, Callable[[], BinaryIO]]]:
    """(path, bytes, opener) of the files that match a glob, by name; of a folder, or of any URL that fsspec knows.

    An opener gives a stream that can seek, and that reads no more than it is asked for.
    """
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(pattern)
    except (ValueError, ImportError) as error:
        raise RequestError(f"cannot open {pattern}: {error}") from None
    with reaching(pattern):
        found = fs.glob(path, detail=True)
    files = sorted((name, info["size"]) for name, info in found.items() if info["type"] == "file")
    return [(name, size, partial(fs.open, name, "rb", cache_type="none")) for name, size in files]
