"""A folder of pictures as a source, with captions in text files, in its metadata or in their names."""

from __future__ import annotations

import logging
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, unseen
from t2i_shards.pipeline.sources.captions import UNREADABLE as CAPTION_UNREADABLE
from t2i_shards.pipeline.sources.folder_captions import (
    METADATA,
    NO_CAPTION,
    FolderCaptions,
    Loaded,
    caption_of_name,
)
from t2i_shards.pipeline.sources.left_out import LeftOut, Named
from t2i_shards.pipeline.sources.licence import LICENCE
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tree import MENDABLE, MISSING, Tree, open_tree

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".avif", ".heic", ".heif", ".hif"}
)
UNTAKEN = "format not taken"
NO_PICTURE = "caption without picture"
UNASKED = "caption file, not asked for"
"""With --captions filename or none."""
BAD_NAME = "name with control characters or not UTF-8"
MENDABLE_CAPTIONS = frozenset({NO_CAPTION, CAPTION_UNREADABLE})
"""Reasons of drops that the folder's owner can fix, as are those that begin with "caption: "."""


@dataclass(frozen=True)
class FolderSource(Source):
    """Pictures below `folder`, in the order of their paths; one without caption is dropped by name."""

    crawl: ClassVar = False

    folder: str
    """Where the pictures are: a folder, or a URL such as s3://bucket/prefix."""
    captions: Literal["files", "filename", "none"] = field(default="files", kw_only=True)
    """Captions from files (one per line of photo.txt or photo.jpg.txt, or metadata.jsonl or metadata.csv with
    file_name and text), from the names of the pictures, or none: then all of them are empty."""
    caption_extension: str = field(default=".txt", kw_only=True)
    """The ending of caption files; .json is for files with a text, caption or captions in them."""

    def __post_init__(self) -> None:
        if not self.caption_extension.startswith(".") or "/" in self.caption_extension:
            raise RequestError(f"--caption-extension must be one such as .caption, not {self.caption_extension!r}")
        self.tree.check()
        object.__setattr__(self, "folder", self.tree.root)

    @property
    def tree(self) -> Tree:
        return open_tree(self.folder)

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        # Datasets made before there was a choice name none of it.
        choice: dict[str, Any] = {} if self.captions == "files" else {"captions": self.captions}
        choice |= {} if self.caption_extension == ".txt" else {"caption_extension": self.caption_extension}
        return {"kind": "folder", "folder": self.folder, **choice}

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        """Every file is a row, the caption or the metadata of one, or named in `left_out` with its reason; so is
        a picture that metadata alone names."""
        pictures, captions = self._find(left_out)
        if self.captions == "files" and pictures and not any(map(captions.known, pictures)):
            raise RequestError(
                f"{self.folder}: none of its {len(pictures)} pictures has a caption; put photo.txt next to "
                "photo.jpg (--caption-extension .caption for another ending), or metadata.jsonl or metadata.csv "
                "with file_name and text there, or use --captions filename or --captions none"
            )
        if self.captions == "none":
            log.warning("--captions none: every caption is empty, so training on this dataset sees no text")
        loaded = captions.load_all(pictures) if self.captions == "files" else repeat(None)
        for index, (name, text) in enumerate(zip(pictures, loaded, strict=False)):
            found, problem = self._caption(name, captions, text, left_out)
            seen(1)
            yield Row(f"{index:09d}", name, found, extra={"problem": problem, **_licence(captions, name)})

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        """The rows of failed ones whose picture and caption are there now, with the caption as it is now."""
        pictures, captions = self._find(LeftOut())
        there = set(pictures)
        for row, reason in failed:
            mendable = reason in MENDABLE | MENDABLE_CAPTIONS or reason.startswith("caption: ")
            if mendable and row.location in there:
                text = captions.load(row.location) if self.captions == "files" else None
                found, problem = self._caption(row.location, captions, text, Counter())
                if not problem and self._opens(row.location):
                    extra = {**row.extra, "problem": None, **_licence(captions, row.location)}
                    yield replace(row, captions=found, extra=extra)

    def _opens(self, name: str) -> bool:
        try:
            self.tree.read(name, 1)
        except Drop:
            return False
        return True

    def _find(self, left_out: LeftOut) -> tuple[list[str], FolderCaptions]:
        """(the names of the pictures in order, what is known of their captions)"""
        unread = list[Named]()
        walked = LeftOut(unread.extend)
        found = sorted(self.tree.names(walked))
        walked.flush()
        for one in unread:
            left_out.name(*one)
        names = [name for name in found if _is_text(name)]
        for name in found if len(names) < len(found) else ():
            if not _is_text(name):
                left_out.name(BAD_NAME, name)
        pictures = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
        files = names if self.captions == "files" else []
        captions = FolderCaptions(self.tree, files, self.caption_extension, left_out)
        used = {*pictures, *captions.metadata_files, *map(captions.find_file, pictures)}
        for name in names:
            if name not in used:
                left_out.name(self._why_unused(name), name)
        folders = {one.location for one in unread}
        for name in sorted(captions.metadata.keys() - set(names)):
            if folders.isdisjoint(map(str, PurePosixPath(name).parents)):  # else it goes with its folder
                left_out.name(MISSING, name)
        return pictures, captions

    def _why_unused(self, name: str) -> str:
        """Of a file that is neither a picture nor the caption of one."""
        if name.lower().endswith(self.caption_extension.lower()):
            return NO_PICTURE if self.captions == "files" else UNASKED
        return UNASKED if self.captions != "files" and PurePosixPath(name).name in METADATA else UNTAKEN

    def _caption(
        self, name: str, captions: FolderCaptions, loaded: Loaded, notes: Counter[str]
    ) -> tuple[tuple[str, ...], str | None]:
        """(the captions of a picture, why there are none)"""
        if self.captions == "none":
            return ("",), None
        try:
            return caption_of_name(name, notes) if self.captions == "filename" else captions.read(
                name, loaded
            ), None
        except Drop as drop:
            return (), drop.reason

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        tree = self.tree
        tree.check()  # a machine that lacks the folder must not drop all of its pictures
        yield partial(read_original, tree)


def read_original(tree: Tree, row: Row) -> Original:
    """The file of a row. Raises Drop as `Tree.read` does, and with the reason why the row has no caption."""
    if not row.captions:
        raise Drop(row.extra.get("problem") or NO_CAPTION)
    licence = {LICENCE: row.extra[LICENCE]} if row.extra.get(LICENCE) else {}
    info = {"path": row.location, **licence}
    return Original(content=tree.read(row.location), captions=row.captions, info=info)


def _licence(captions: FolderCaptions, name: str) -> dict[str, str]:
    """The column of a plan that has the licences, where the metadata name any."""
    licence = captions.find_licence(name)
    return {LICENCE: licence} if licence else {}


def _is_text(name: str) -> bool:
    """Whether JSON and tables can hold the name, and a terminal show it."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def name_pictures(file: str) -> Iterator[str]:
    """What a picture may be called whose caption file this is: photo.txt is that of photo.jpg, of photo.PNG …"""
    stem = posixpath.splitext(file)[0]
    yield stem  # photo.jpg.txt
    for suffix in SUFFIXES:
        yield from (stem + spelt for spelt in (suffix, suffix.upper(), suffix.title()))
