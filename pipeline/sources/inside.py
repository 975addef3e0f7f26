"""Files of a received folder: links that lead out of it are not followed.

Otherwise a received folder could make any file of the reader's a picture or a caption of a dataset.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from t2i_shards.extractors.regular import NotRegular, open_regular
from t2i_shards.pipeline.errors import Drop

OUTSIDE = "link out of the folder"
NOT_REGULAR = "not a regular file"
LINKED = "folder read elsewhere already"
LINKED_OUTSIDE = "linked folder outside"
UNREADABLE = "folder not readable"


def lies_inside(path: str | Path, folder: str | Path) -> bool:
    """Whether `path`, all links followed, is in `folder` or is it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def open_inside(folder: str | Path, name: str, within: str | Path | None = None) -> BinaryIO:
    """The regular file `name` of the folder. Raises Drop, and OSError as `open` does.

    within: where links may lead to, the folder itself by default.
    """
    path = os.path.join(folder, name)
    if not lies_inside(path, within or folder):
        raise Drop(OUTSIDE)
    try:
        return open_regular(path)
    except NotRegular:
        raise Drop(NOT_REGULAR) from None


def find_files(folder: str | Path, left_out: Counter[str]) -> Iterator[str]:
    """The names of all files below the folder, as relative paths, in no order.

    A link to a folder is followed if that lies inside, but not when it leads to a folder that it is in, nor
    below another such link: these are read in their own place. Folders that are not read are counted in
    `left_out`.
    """
    root = os.path.realpath(folder)
    waiting = [("", False)]
    while waiting:
        place, linked = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(root, place)))
        except PermissionError:
            left_out[UNREADABLE] += 1
            continue
        for entry in entries:
            name = os.path.join(place, entry.name)
            if not entry.is_symlink() or not os.path.isdir(entry.path):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((name, linked))
                else:
                    yield name
            elif not lies_inside(entry.path, root):
                left_out[LINKED_OUTSIDE] += 1
            elif linked or lies_inside(os.path.join(root, place), entry.path):
                left_out[LINKED] += 1
            else:
                waiting.append((name, True))
