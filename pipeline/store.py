"""Where a dataset lies: a folder, or any place that fsspec knows. Files appear whole, once, or not at all.

The only user of fsspec in the project. There is no call that overwrites; what may be discarded are drafts.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from extractors.regular import open_regular
from pipeline.errors import RequestError
from pipeline.reach import reaching, read_patiently
from pipeline.scratch import make_scratch, sweep_scratch, temporary_folder


class Store(Protocol):
    """Paths are relative to `root`, with `/` between their parts, and lead nowhere else: RequestError."""

    root: str

    def load(self, path: str) -> memoryview:
        """The bytes of a file. Raises FileNotFoundError, Unreachable."""

    def open(self, path: str) -> BinaryIO:
        """A file to read, that can seek: in a folder the file itself, of other places its bytes in memory.

        What is read of it is a copy, and no harm comes of it when the file is cut meanwhile. Raises as `load`.
        """

    def names(self, folder: str) -> list[str]:
        """The sorted names of the files and folders in `folder`; none when there is no such folder.

        Raises Unreachable.
        """

    def create(self, path: str, source: Path) -> bool:
        """Make `path` with the bytes of the local file `source`, unless it is there: then False."""

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Make `path` with these bytes, unless it is there: then False."""

    def discard(self, path: str) -> None:
        """Remove a draft, if it is there."""

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
    return ObjectStore(url) if found else FolderStore(Path(url))


def check_path(root: str, path: str) -> str:
    """The path. Raises RequestError for one that leads out of the store, as a stranger's file may name it."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise RequestError(f"a path in {root} must be relative and without '..', not {path!r}")
    return path


def map_file(path: Path) -> memoryview:
    """The bytes of a local file, read as they are touched; cutting it meanwhile kills us. Raises NotRegular."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class FolderStore:
    """A folder. A file is written beside its place and linked into it, so that its name appears at once."""

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

    def create(self, path: str, source: Path) -> bool:
        final = self._place(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as file:
            os.fsync(file.fileno())
        if source.stat().st_dev != final.parent.stat().st_dev:
            with self.scratch() as scratch:
                return self.create(path, Path(shutil.copyfile(source, scratch / "copy")))
        try:
            os.link(source, final)
        except FileExistsError:
            return False
        _sync_folder(final.parent)
        return True

    def create_bytes(self, path: str, data: bytes) -> bool:
        with self.scratch() as scratch:
            source = scratch / "data"
            source.write_bytes(data)
            return self.create(path, source)

    def discard(self, path: str) -> None:
        self._place(path).unlink(missing_ok=True)

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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _refusal_as_exists() -> Iterator[None]:
    """Ends quietly when a conditional put was refused because the object is there.

    s3fs says FileExistsError only where the server names the condition that failed; where it does not,
    status 412 comes as EINVAL.
    """
    try:
        yield
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL or "PreconditionFailed" not in repr(error.__cause__):
            raise


class ObjectStore:
    """An object store through fsspec: one conditional put per file.

    What is read is asked for again while it fails in ways that may pass (`read_patiently`). What is written is
    not: the clients do so for some seconds, and a put whose answer was lost finds its own object there, which
    the commit protocol adopts.
    """

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_opened": None}

    @property
    def _fs(self) -> Any:
        # An fsspec file system has a thread with an event loop, which does not survive a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                fs, _ = fsspec.core.url_to_fs(self.root, use_listings_cache=False, skip_instance_cache=True)
            except (ValueError, ImportError) as error:
                raise RequestError(f"cannot open {self.root}: {error}") from None
            self._opened = (os.getpid(), fs)
        return self._opened[1]

    def _url(self, path: str) -> str:
        return f"{self.root}/{check_path(self.root, path)}" if path else self.root

    def load(self, path: str) -> memoryview:
        return memoryview(self._read(path))

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self._read(path))

    def _read(self, path: str) -> bytes:
        url = self._url(path)
        with reaching(self.root):
            data: bytes = read_patiently(url, lambda: self._fs.cat_file(url))
            return data

    def names(self, folder: str) -> list[str]:
        url = self._url(folder)
        try:
            with reaching(self.root):
                found = read_patiently(url, lambda: self._fs.ls(url, detail=False))
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def create(self, path: str, source: Path) -> bool:
        with _refusal_as_exists(), reaching(self.root):
            self._fs.put_file(os.fspath(source), self._url(path), mode="create")
            return True
        return False

    def create_bytes(self, path: str, data: bytes) -> bool:
        with _refusal_as_exists(), reaching(self.root):
            self._fs.pipe_file(self._url(path), data, mode="create")
            return True
        return False

    def discard(self, path: str) -> None:
        with suppress(FileNotFoundError), reaching(self.root):
            self._fs.rm_file(self._url(path))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        scratch = make_scratch(temporary_folder())
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def sweep(self) -> None:
        sweep_scratch(temporary_folder())


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
