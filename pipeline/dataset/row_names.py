"""What may name the picture of a planned row: its addresses, and its paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from t2i_shards.pipeline.sources.row import Row

URLS = ("url", "coco_url", "flickr_url")
"""The sources' own columns that hold a picture's address, in addition to its location."""


def list_urls(row: Row) -> tuple[str, ...]:
    """The addresses of the row's picture."""
    return (row.location, *(str(row.extra.get(name) or "") for name in URLS))


def list_paths(row: Row, source: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of the row's picture: as the plan has it, in its folder, and from the working directory.

    source: as dataset.json describes it.
    """
    folder = source.get("folder")
    if not isinstance(folder, str):
        return (row.location,)
    whole = f"{folder.rstrip('/')}/{row.location}"
    return (row.location, whole) if "://" in folder else (row.location, whole, os.path.relpath(whole))


def list_locations(path: str, source: Mapping[str, Any]) -> tuple[str, ...]:
    """The locations that a row may have for which `list_paths` gives this path."""
    folder = source.get("folder")
    if not isinstance(folder, str):
        return (path,)
    within = path.removeprefix(f"{folder.rstrip('/')}/")
    return (path, within) if "://" in folder else (path, within, os.path.relpath(path, folder))
