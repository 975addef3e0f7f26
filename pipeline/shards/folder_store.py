"""A store that is a folder: a file is written next to its place, then renamed at once."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from t2i_shards.extractors.atomic import flush
from t2i_shards.extractors.regular import open_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scratch import make_scratch, sweep_scratch
from t2i_shards.pipeline.shards.naming import check_path, link_new, rename_new


def map_file(path: Path) -> memoryview:
    """The bytes of a local file, mapped: truncating it while it is read kills the process. Raises NotRegular."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class FolderStore:
    """A `Store` in a folder; its files get their names as `t2i_shards.pipeline.shards.naming` has it."""

    def __init__(self, folder: Path) -> None:
        self.root = os.fspath(folder)
        self._folder = folder.absolute()

    def _place(self, path: str) -> Path:
        return self._folder / check_path(self.root, path)

    def load(self, path: str) -> memoryview:
        return map_file(self._place(path))

    def open(self, path: str) -> BinaryIO:
        return open_regular(self._place(path))

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._place(folder)) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def names_from(self, folder: str, prefixes: Sequence[str]) -> list[str]:
        return [name for name in self.names(folder) if name.startswith(tuple(prefixes))]

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self._place(folder)) as found:
                return {entry.name: entry.stat().st_size for entry in found if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def create(self, path: str, source: Path) -> bool:
        final = self._place(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        flush(source)
        if source.stat().st_dev != final.parent.stat().st_dev:
            with self.scratch() as scratch:
                return self.create(path, Path(shutil.copyfile(source, scratch / "copy")))
        created = link_new(source, final)
        if created is None:
            created = self._create_without_links(source, final)
        if created:
            flush(final.parent)
        return created

    def _create_without_links(self, source: Path, final: Path) -> bool:
        if os.path.lexists(final):  # asked for again, as most often
            return False
        with self.scratch() as scratch:
            copy = Path(shutil.copyfile(source, scratch / "copy"))  # the source stays where it is
            flush(copy)
            return rename_new(copy, final)

    def create_bytes(self, path: str, data: bytes) -> bool:
        with self.scratch() as scratch:
            source = scratch / "data"
            source.write_bytes(data)
            return self.create(path, source)

    def replace(self, path: str, source: Path) -> None:
        final = self._place(path)
        with self.scratch() as scratch:
            copy = Path(shutil.copyfile(source, scratch / "copy"))
            flush(copy)
            os.replace(copy, final)
        flush(final.parent)

    def replace_bytes(self, path: str, data: bytes) -> None:
        with self.scratch() as scratch:
            source = scratch / "data"
            source.write_bytes(data)
            self.replace(path, source)

    def discard(self, path: str) -> None:
        self._place(path).unlink(missing_ok=True)

    def discard_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.discard(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        try:
            scratch = make_scratch(self._folder / ".scratch")
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
                raise RequestError(
                    f"cannot write to {self.root}: the destination must be a folder that may be written "
                    f"({os.strerror(error.errno)})"
                ) from None
            raise
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def sweep(self) -> None:
        sweep_scratch(self._folder / ".scratch")
