"""Where a dataset lies: a folder, or any place that fsspec knows. Files appear whole, once, or not at all.

One call overwrites, `replace`, for shards and plans of which something is erased; what may go are drafts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.dry_store import DryStore
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.object_store import ObjectStore

AT_ONCE = 16
"""Small files that are read at once: each takes a round trip of its own."""
SINGLE_WRITER = "T2I_SHARDS_SINGLE_WRITER"
"""Where this is in the environment, no other command writes to the stores that are opened (--single-writer)."""


DRY = "T2I_SHARDS_DRY_RUN"
"""Where this is in the environment, it names a folder, to which goes what is created in stores (--dry-run)."""


class Store(Protocol):
    """Paths are relative to `root`, with `/` between their parts, and lead nowhere else: RequestError."""

    root: str

    def load(self, path: str) -> memoryview:
        """The bytes of a file. Raises FileNotFoundError, Unreachable."""

    def open(self, path: str) -> BinaryIO:
        """A file to read, that can seek: in a folder the file itself, of other places its bytes in memory.

        What is read of it is a copy, so truncating the file does no harm. Raises as `load`.
        """

    def names(self, folder: str) -> list[str]:
        """The sorted names of the files and folders in `folder`; none when there is no such folder.

        Raises Unreachable.
        """

    def names_from(self, folder: str, prefixes: Sequence[str]) -> list[str]:
        """The sorted names of the files in `folder` that begin with one of these; folders may be among them.

        Where a place lists a thousand names at a time the prefixes are asked for at once, and nothing else is.
        Raises Unreachable.
        """

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of the files in `folder`, hidden ones too; none when there is no such folder.

        Raises Unreachable.
        """

    def create(self, path: str, source: Path) -> bool:
        """Make `path` with the bytes of the local file `source`, unless it is there: then False."""

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Make `path` with these bytes, unless it is there: then False."""

    def replace(self, path: str, source: Path) -> None:
        """Put the bytes of the local file `source` in the place of the file, at once."""

    def replace_bytes(self, path: str, data: bytes) -> None:
        """Put these bytes in the place of the file, at once."""

    def discard(self, path: str) -> None:
        """Remove a draft, if it is there."""

    def discard_all(self, paths: Sequence[str]) -> None:
        """Remove drafts that are there, a thousand to a request where the place can."""

    def scratch(self) -> Any:
        """A context manager: a local folder to work in, removed at the end."""

    def sweep(self) -> None:
        """Remove the scratch of dead processes of this machine, and what is days old of others."""


def open_store(root: str | os.PathLike[str]) -> Store:
    """The store at `root`: a folder, or a URL such as s3://bucket/prefix."""
    url = os.fspath(root)
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    protocol, found, place = url.partition("://")
    if found and not place.strip("/"):
        raise RequestError(f"a root on {protocol}:// must name a bucket, and {url!r} names none")
    store = ObjectStore(url, SINGLE_WRITER in os.environ) if found else FolderStore(Path(url))
    if DRY not in os.environ:
        return store
    return DryStore(store, Path(os.environ[DRY], hashlib.sha256(url.encode()).hexdigest()))
