"""Where the parts of COCO lie: a folder, or an official zip that is read without unpacking it."""

from __future__ import annotations

import functools
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, TypeAlias

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.sources.tree import lies_inside, open_inside

MAX_BYTES = 32 << 20
"""Of one file; the largest photograph of COCO has less than 1 MiB."""

BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, NotImplementedError)
"""What zipfile raises on damaged files; the last two on encrypted ones, and compressions that are not built in."""

Read: TypeAlias = Callable[[str], bytes]
"""The bytes of the file of this name. Raises FileNotFoundError, or Drop."""


@dataclass(frozen=True)
class ImageFolder:
    """A folder of files, or the folder `inside` of the zip file at `path`.

    within: the folder out of which no link may lead, `path` itself by default.
    """

    path: Path
    inside: str | None = None
    within: Path | None = None

    def open(self) -> Read:
        """Raises RequestError when it is gone or no zip file."""
        # Without this, each picture would be a drop of its own on a machine that lacks the folder.
        if not (self.path.is_dir() if self.inside is None else self.path.is_file()):
            raise RequestError(f"{self.path}: must exist on every machine that works")
        if self.inside is None:
            return self._read_file
        archive, inside = _open_zip(self.path), self.inside
        return lambda name: _read_member(archive, f"{inside}/{name}" if inside else name)

    def __str__(self) -> str:
        return f"{self.path}/" if self.inside is None else f"{self.path} ({self.inside or 'flat'})"

    def _read_file(self, name: str) -> bytes:
        with open_inside(self.path, name, self.within) as file:
            return _read_capped(file)


@dataclass(frozen=True)
class ImageFolders:
    """Where files may be, the first that has one first: an empty folder may lie next to the zip that is meant."""

    places: tuple[ImageFolder, ...]

    def open(self) -> Read:
        """A file is found by another spelling of its ending too (.JPG). Raises as `ImageFolder.open` does."""
        # A zip that nothing is looked for in may be damaged.
        readers = [functools.cache(folder.open) for folder in self.places]

        def read(name: str) -> bytes:
            for spelling in _spellings(name):
                for reader in readers:
                    try:
                        return reader()(spelling)
                    except (FileNotFoundError, NotADirectoryError):
                        continue
            raise FileNotFoundError(name)

        return read

    def has(self, name: str) -> bool:
        """Whether the file is in one of them, readable or not."""
        try:
            self.open()(name)
        except FileNotFoundError:
            return False
        except (Drop, OSError):
            return True
        return True

    def __str__(self) -> str:
        return ", ".join(map(str, self.places))


def _spellings(name: str) -> tuple[str, ...]:
    stem, dot, ending = name.rpartition(".")
    return tuple(dict.fromkeys((name, f"{stem}{dot}{ending.upper()}", f"{stem}{dot}{ending.lower()}")))


def find_pictures(coco: Path, split: str) -> ImageFolders | None:
    """train2017/ or train2017.zip, also below images/, and also when unpacking has made train2017/train2017/."""
    names = (split, f"images/{split}")
    return _find(coco, names, names, inside=split)


def find_stuff_maps(coco: Path, split: str) -> ImageFolders | None:
    """stuffthingmaps/train2017/, or stuffthingmaps_trainval2017.zip with both splits in it."""
    folders = (f"stuffthingmaps/{split}", f"stuffthingmaps_trainval2017/{split}")
    zips = ("stuffthingmaps_trainval2017", "annotations/stuffthingmaps_trainval2017")
    return _find(coco, folders, zips, inside=split)


def find_panoptic_maps(coco: Path, split: str) -> ImageFolders | None:
    """panoptic_train2017/ or panoptic_train2017.zip, as the official zip of annotations holds it."""
    name = f"panoptic_{split}"
    names = (f"annotations/{name}", name)
    return _find(coco, names, names, inside=name)


def _find(coco: Path, folders: tuple[str, ...], zips: tuple[str, ...], inside: str) -> ImageFolders | None:
    """Folders that are not empty, the inner one of two of a name too; zips, whose members may lie flat."""
    nested = [f"{name}/{PurePath(name).name}" for name in folders]
    there = [check_inside(coco, coco / name) for name in (*folders, *nested) if (coco / name).is_dir()]
    found = [ImageFolder(folder, within=coco) for folder in there if any(os.scandir(folder))]
    for name in zips:
        if (coco / f"{name}.zip").is_file():
            path = check_inside(coco, coco / f"{name}.zip")
            found += [ImageFolder(path, folder) for folder in (inside, "", f"{inside}/{inside}")]
    return ImageFolders(tuple(found)) if found else None


def check_inside(coco: Path, path: Path) -> Path:
    """The path. RequestError when a link leads out of the folder of COCO."""
    if not lies_inside(path, coco):
        raise RequestError(
            f"{path}: a link must not lead out of --coco, and this one leads to {os.path.realpath(path)}; give "
            "--coco the folder that holds it all, or put the files themselves there"
        )
    return path


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise FileNotFoundError(f"{archive.filename} has no {name}") from None
    try:
        with archive.open(member) as file:
            return _read_capped(file)
    except BROKEN:
        raise Drop("damaged in the zip file") from None


def _open_zip(path: Path) -> zipfile.ZipFile:
    found = path.stat()
    try:
        return _open_zip_once(path, found.st_size, found.st_mtime_ns, os.getpid())
    except BROKEN as error:
        raise RequestError(f"{path}: must be a whole zip file ({error})") from None


@functools.lru_cache(maxsize=4)
def _open_zip_once(path: Path, size: int, changed: int, process: int) -> zipfile.ZipFile:
    """Reading the list of train2017.zip's 118 k members takes 0.7 s, a tenth of the work on a shard.

    process: a file that was opened before a fork has one position for parent and child.
    """
    return zipfile.ZipFile(path)


def _read_capped(file: IO[bytes]) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Drop("too large")
    return data
