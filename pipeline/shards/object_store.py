"""A store in a bucket, or any other place that fsspec knows: one conditional put per file."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeAlias

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scratch import make_scratch, sweep_scratch, temporary_folder
from t2i_shards.pipeline.shards.naming import check_path
from t2i_shards.pipeline.shards.remote_read import open_filesystem, read_with_retry, translate_errors, write_once

PROBE = ".create-once"
"""An empty object that shows whether a store refuses to replace it."""
AT_ONCE = 16
"""Listings that are asked for at once."""
DELETED_AT_ONCE = 1000
"""Objects that S3 removes in one request, at most."""
Put: TypeAlias = Callable[[str, str], Any]
"""(url, mode) -> the object is put there; the mode is "create" or "overwrite"."""


class ObjectStore:
    """An object store through fsspec: one conditional put per file.

    What is read is asked for again while it fails in ways that may pass (`read_with_retry`). What is written is
    not, but for conflicts: the clients do so for some seconds, and a put whose answer was lost finds its own
    object there, which the commit protocol adopts. single_writer: for a store that cannot refuse to replace; it
    is asked before each put whether the object is there.
    """

    _creating: ClassVar[set[str]] = set()
    """Roots that are known to create without replacing."""

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
            fs, _ = open_filesystem(self.root, use_listings_cache=False, skip_instance_cache=True)
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
        # S3's client would ask for the size first, to read in several parts at once: worth it for shards alone.
        small = self.root.startswith("s3://") and not path.endswith(".tar")
        options = {"max_concurrency": 1} if small else {}
        with translate_errors(self.root):
            data: bytes = read_with_retry(url, lambda: self._fs.cat_file(url, **options))
            return data

    def names(self, folder: str) -> list[str]:
        # A console makes an empty object of the folder's own name, which is listed in the folder.
        own = self._url(folder).partition("://")[2].rstrip("/")
        found = self._list(folder, detail=False)
        names = {name.rstrip("/").rsplit("/", 1)[-1] for name in found if name.rstrip("/") != own}
        return sorted(name for name in names if not name.startswith("."))

    def names_from(self, folder: str, prefixes: Sequence[str]) -> list[str]:
        # Of the other clients not all know of prefixes, and some would list everything for each.
        if not self.root.startswith("s3://"):
            return [name for name in self.names(folder) if name.startswith(tuple(prefixes))]

        def find(prefix: str) -> list[str]:
            with translate_errors(self.root):
                found: list[str] = read_with_retry(url, lambda: self._fs.find(url, prefix=prefix, maxdepth=1))
                return found

        url = self._url(folder)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return sorted({name.rsplit("/", 1)[-1] for found in threads.map(find, prefixes) for name in found})

    def sizes(self, folder: str) -> dict[str, int]:
        found = self._list(folder, detail=True)
        return {file["name"].rsplit("/", 1)[-1]: file["size"] for file in found if file["type"] == "file"}

    def _list(self, folder: str, detail: bool) -> list[Any]:
        url = self._url(folder)
        try:
            with translate_errors(self.root):
                found: list[Any] = read_with_retry(url, lambda: self._fs.ls(url, detail=detail))
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
        with translate_errors(self.root):
            if self._single_writer:
                there = read_with_retry(url, lambda: self._fs.exists(url))
                return not there and write_once(url, lambda: put(url, "overwrite"))
            self._check_creating()
            return write_once(url, lambda: put(url, "create"))

    def replace(self, path: str, source: Path) -> None:
        os.stat(source)
        self._replace(path, lambda url, mode: self._fs.put_file(os.fspath(source), url, mode=mode))

    def replace_bytes(self, path: str, data: bytes) -> None:
        self._replace(path, lambda url, mode: self._fs.pipe_file(url, data, mode=mode))

    def _replace(self, path: str, put: Put) -> None:
        url = self._url(path)
        with translate_errors(self.root):
            write_once(url, lambda: put(url, "overwrite"))

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
        with suppress(FileNotFoundError), translate_errors(self.root):
            self._fs.rm_file(self._url(path))

    def discard_all(self, paths: Sequence[str]) -> None:
        if not self.root.startswith("s3://"):
            for path in paths:
                self.discard(path)
            return
        for start in range(0, len(paths), DELETED_AT_ONCE):
            places = [self._fs.split_path(self._url(path)) for path in paths[start : start + DELETED_AT_ONCE]]
            objects = {"Objects": [{"Key": key} for _, key, _ in places], "Quiet": True}
            with translate_errors(self.root):
                # s3fs has a call for this too, which keeps silent about what was not removed.
                answer = self._fs.call_s3("delete_objects", Bucket=places[0][0], Delete=objects)
            for error in answer.get("Errors", ()):
                raise RequestError(f"cannot remove {self.root}: {error.get('Key')}: {error.get('Message')}")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        scratch = make_scratch(temporary_folder())
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def sweep(self) -> None:
        sweep_scratch(temporary_folder())
