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
from typing import Any, BinaryIO, ClassVar, Protocol, TypeAlias

from extractors.regular import open_regular
from pipeline.errors import RequestError
from pipeline.scratch import make_scratch, sweep_scratch, temporary_folder
from pipeline.shards.naming import link_new, rename_new, sync_folder
from pipeline.shards.remote_read import reaching, read_patiently, write_once

SINGLE_WRITER = "T2I_SHARDS_SINGLE_WRITER"
"""Where this is in the environment, no other command writes to the stores that are opened (--single-writer)."""
PROBE = ".create-once"
"""An empty object, by which it is found out whether a store refuses to replace it."""
Put: TypeAlias = Callable[[str, str], Any]
"""(url, mode) -> the object is put there; the mode is "create" or "overwrite"."""


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

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of the files in `folder`, hidden ones too; none when there is no such folder.

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
    return ObjectStore(url, SINGLE_WRITER in os.environ) if found else FolderStore(Path(url))


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
    """A folder. A file is written beside its place, then given its name at once (see `pipeline.shards.naming`)."""

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

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self._place(folder)) as found:
                return {entry.name: entry.stat().st_size for entry in found if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def create(self, path: str, source: Path) -> bool:
        final = self._place(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as file:
            os.fsync(file.fileno())
        if source.stat().st_dev != final.parent.stat().st_dev:
            with self.scratch() as scratch:
                return self.create(path, Path(shutil.copyfile(source, scratch / "copy")))
        created = link_new(source, final)
        if created is None:
            created = self._create_without_links(source, final)
        if created:
            sync_folder(final.parent)
        return created

    def _create_without_links(self, source: Path, final: Path) -> bool:
        if os.path.lexists(final):  # asked for again, as most often
            return False
        with self.scratch() as scratch:
            copy = Path(shutil.copyfile(source, scratch / "copy"))  # the source stays where it is
            with open(copy, "rb") as file:
                os.fsync(file.fileno())
            return rename_new(copy, final)

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


class ObjectStore:
    """An object store through fsspec: one conditional put per file.

    What is read is asked for again while it fails in ways that may pass (`read_patiently`). What is written is
    not, but for conflicts: the clients do so for some seconds, and a put whose answer was lost finds its own
    object there, which the commit protocol adopts. single_writer: for a store that cannot refuse to replace; it
    is asked before each put whether the object is there.
    """

    _creating: ClassVar[set[str]] = set()
    """Roots of which it is known that they can create without replacing."""

    def __init__(self, url: str, single_writer: bool = False) -> None:
        self.root = url.rstrip("/")
        self._single_writer = single_writer
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None, "_known": self.root in self._creating}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.pop("_known"):
            self._creating.add(state["root"])
        vars(self).update(state)

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
        # A console makes an empty object of the folder's own name, which is listed in the folder.
        own = self._url(folder).partition("://")[2].rstrip("/")
        found = self._list(folder, detail=False)
        names = {name.rstrip("/").rsplit("/", 1)[-1] for name in found if name.rstrip("/") != own}
        return sorted(name for name in names if not name.startswith("."))

    def sizes(self, folder: str) -> dict[str, int]:
        found = self._list(folder, detail=True)
        return {file["name"].rsplit("/", 1)[-1]: file["size"] for file in found if file["type"] == "file"}

    def _list(self, folder: str, detail: bool) -> list[Any]:
        url = self._url(folder)
        try:
            with reaching(self.root):
                found: list[Any] = read_patiently(url, lambda: self._fs.ls(url, detail=detail))
        except FileNotFoundError:
            return []
        return found

    def create(self, path: str, source: Path) -> bool:
        os.stat(source)  # that it is gone is not to be taken for the bucket's fault
        return self._create(path, lambda url, mode: self._fs.put_file(os.fspath(source), url, mode=mode))

    def create_bytes(self, path: str, data: bytes) -> bool:
        return self._create(path, lambda url, mode: self._fs.pipe_file(url, data, mode=mode))

    def _create(self, path: str, put: Put) -> bool:
        url = self._url(path)
        with reaching(self.root):
            if self._single_writer:
                there = read_patiently(url, lambda: self._fs.exists(url))
                return not there and write_once(url, lambda: put(url, "overwrite"))
            self._check_creating()
            return write_once(url, lambda: put(url, "create"))

    def _check_creating(self) -> None:
        """Raises RequestError where a put that must not replace anything does; asked once per process tree."""
        if self.root in self._creating:
            return
        url = f"{self.root}/{PROBE}"
        if all(write_once(url, lambda: self._fs.pipe_file(url, b"", mode="create")) for _ in range(2)):
            self.discard(PROBE)
            raise RequestError(
                f"{self.root} replaces objects where it was asked to create them (it ignores If-None-Match), so "
                "two commands at once would lose each other's files; where no other command writes there, give "
                "--single-writer"
            )
        self._creating.add(self.root)

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
