"""Whether results will find a place, asked before the work that they take."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from t2i_shards.pipeline.errors import RequestError, describe_full_disk


def check_writable(folder: Path) -> None:
    """Raises RequestError where no file can be made in that folder of --out, which need not be there yet.

    Nothing is left behind: of a folder that is not there, the nearest one above it is tried.
    """
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        if describe_full_disk(error):
            raise
        raise RequestError(
            f"--out must be in a folder that may be written, and in {there} no file can be made "
            f"({error.strerror}): give another --out"
        ) from None
