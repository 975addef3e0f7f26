"""The files below a folder, on this machine or in any place that fsspec knows.

Links that lead out of the folder are not followed: otherwise a received folder could make any file of the reader's
a picture or a caption of a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar

from t2i_shards.extractors.regular import NotRegular, open_regular
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.shards.remote_read import (
    Denied,
    find_below,
    list_s3,
    open_filesystem,
    read_with_retry,
    translate_errors,
)
from t2i_shards.pipeline.sources.left_out import LeftOut

OUTSIDE = "link out of the folder"
PATH_OUTSIDE = "path out of the folder"
"""As a table or an annotation may have it: an absolute path, or one with too many `..`."""
NOT_REGULAR = "not a regular file"
LINKED = "folder read elsewhere already"
LINKED_OUTSIDE = "linked folder outside"
FOLDER_UNREADABLE = "folder not readable"

MISSING = "no such file"
UNREADABLE = "file not readable"
MENDABLE = frozenset({MISSING, UNREADABLE})
"""Reasons of drops that the owner of the files can fix."""
LONGEST_KEY = 1024
"""Bytes of an object's name in S3 and in the buckets of Google and Azure."""

T = TypeVar("T")


def lies_inside(path: str | Path, folder: str | Path) -> bool:
    """Whether `path`, all links followed, is in `folder` or is it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def open_inside(folder: str | Path, name: str, within: str | Path | None = None) -> BinaryIO:
    """The regular file `name` of the folder. Raises Drop, and OSError as `open` does.

    within: where links may lead to, the folder itself by default.
    """
    path = os.path.join(folder, name)
    if not lies_inside(path, within or folder):
        linked = Path(os.path.normpath(path)).is_relative_to(os.path.normpath(within or folder))
        raise Drop(OUTSIDE if linked else PATH_OUTSIDE)
    try:
        return open_regular(path)
    except NotRegular:
        raise Drop(NOT_REGULAR) from None


def walk_files(folder: str | Path, left_out: LeftOut) -> Iterator[str]:
    """The names of all files below the folder, as relative paths, in no order.

    A link to a folder is followed if that lies inside, but not when it leads to a folder that it is in, nor
    below another such link: these are read in their own place. Folders that are not read are named in
    `left_out`.
    """
    root = os.path.realpath(folder)
    waiting = [("", False)]
    while waiting:
        place, linked = waiting.pop()
        try:
            # In one order, so that what is left out is named in one.
            entries = sorted(os.scandir(os.path.join(root, place)), key=lambda entry: entry.name)
        except PermissionError:
            left_out.name(FOLDER_UNREADABLE, place)
            continue
        for entry in entries:
            name = os.path.join(place, entry.name)
            if not entry.is_symlink() or not os.path.isdir(entry.path):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((name, linked))
                else:
                    yield name
            elif not lies_inside(entry.path, root):
                left_out.name(LINKED_OUTSIDE, name)
            elif linked or lies_inside(os.path.join(root, place), entry.path):
                left_out.name(LINKED, name)
            else:
                waiting.append((name, True))


def read_or_drop(what: str, read: Callable[[], T], far: bool) -> T:
    """What `read` gives of a file; far away it is asked again while it fails in a way that may pass.

    Raises Drop("no such file", "file not readable"), Unreachable, and RequestError where the credentials for all
    files are refused.
    """
    try:
        return read_with_retry(what, read) if far else read()
    except (FileNotFoundError, NotADirectoryError):
        raise Drop(MISSING) from None
    except (OSError, Denied):  # no right to read it, an archived object, a bad sector, a name that is too long
        raise Drop(UNREADABLE) from None


class Tree(Protocol):
    """root: the folder, as an absolute path or a URL. far: whether a file takes a round trip."""

    root: str
    far: ClassVar[bool]

    def check(self) -> None:
        """Raises RequestError when there is no such folder."""

    def names(self, left_out: LeftOut) -> Iterator[str]:
        """The relative names of all files, in no order; folders that are not read are named in `left_out`."""

    def read(self, name: str, most: int = -1) -> bytes:
        """The file, or its first `most` bytes, whatever text `name` is. Raises Drop: "no such file", "file not
        readable", "link out of the folder", "path out of the folder", "not a regular file".
        """


def open_tree(folder: str) -> Tree:
    """folder: a path, or a URL such as s3://bucket/prefix."""
    return RemoteTree(folder) if "://" in folder else LocalTree(folder)


class LocalTree:
    """A folder of this machine; links in it are followed as `walk_files` and `open_inside` have it."""

    far: ClassVar = False

    def __init__(self, folder: str) -> None:
        # A worker of a cluster has another working directory than the command.
        self.root = os.path.abspath(folder)

    def check(self) -> None:
        if not Path(self.root).is_dir():
            raise RequestError(f"FOLDER must be a folder of pictures, not {self.root!r}")

    def names(self, left_out: LeftOut) -> Iterator[str]:
        return walk_files(self.root, left_out)

    def read(self, name: str, most: int = -1) -> bytes:
        def load() -> bytes:
            with open_inside(self.root, name) as file:
                return file.read(most)

        try:
            return read_or_drop(name, load, far=False)
        except ValueError:  # no file can have a NUL in its name
            raise Drop(MISSING) from None


class RemoteTree:
    """A prefix of a bucket, or of another place that fsspec knows."""

    far: ClassVar = True

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")

    def _open(self) -> tuple[Any, str]:
        fs, path = open_filesystem(self.root)
        return fs, path.rstrip("/") + "/"

    def check(self) -> None:
        """A prefix is there when anything is below it, which `names` finds out."""
        self._open()

    def names(self, left_out: LeftOut) -> Iterator[str]:
        fs, prefix = self._open()

        def find() -> list[str]:
            fs.invalidate_cache()
            try:
                with translate_errors(self.root):
                    # S3's client would keep 1.4 kB of each object until the last is listed.
                    return list_s3(fs, prefix) if self.root.startswith("s3://") else list(find_below(fs, prefix))
            except FileNotFoundError as error:  # of the bucket, which its client does not name
                raise RequestError(f"cannot read {hide_secrets(self.root)}: {error}") from None

        found = read_with_retry(self.root, find)
        # A console that makes folders leaves empty objects with their names.
        return (name.removeprefix(prefix) for name in found if name.startswith(prefix) and not name.endswith("/"))

    def read(self, name: str, most: int = -1) -> bytes:
        if name.startswith("/") or ".." in name.split("/"):
            raise Drop(PATH_OUTSIDE)
        fs, prefix = self._open()
        path = prefix + name
        if not _can_be_key(path.partition("/")[2]):
            raise Drop(MISSING)

        def load() -> bytes:
            with translate_errors(self.root):
                try:
                    return bytes(fs.cat_file(path, end=None if most < 0 else most))
                except FileNotFoundError:
                    raise
                except Exception:
                    if most < 0 or not _is_empty(fs, path):
                        raise
                    return b""  # of an empty file stores give no range

        return read_or_drop(f"{self.root}/{name}", load, far=True)


def _is_empty(fs: Any, path: str) -> bool:
    """False too where the store does not say; a web server need not give a size."""
    try:
        return bool(fs.info(path)["size"] == 0)
    except OSError:  # so fsspec reports any failure of a web server, as a missing file
        return False


def _can_be_key(name: str) -> bool:
    """Whether a store can hold an object of this name; asking for another fails as an outage does."""
    try:
        return "\0" not in name and len(name.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:
        return False
