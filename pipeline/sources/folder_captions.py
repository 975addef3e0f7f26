"""Where the captions of a folder's pictures are: a text file next to each, or the metadata of an `imagefolder`."""

from __future__ import annotations

import csv
import io
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import msgspec

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.shards.read_ahead import read_ahead
from t2i_shards.pipeline.sources.captions import (
    MAX_BYTES,
    UNREADABLE,
    clean_caption,
    clean_lines,
    decode_file,
    decode_text,
)
from t2i_shards.pipeline.sources.licence import UNKNOWN, find_licence
from t2i_shards.pipeline.sources.tree import Tree

NO_CAPTION = "no caption"
METADATA = ("metadata.jsonl", "metadata.csv")
"""As Hugging Face's `imagefolder` names them; their `file_name` is relative to their own folder."""
COLUMNS = ("text", "caption", "captions")
"""What a caption is called in metadata and in JSON files, the first that is there."""

Loaded: TypeAlias = bytes | Drop | None
"""A caption file, or its first bytes; why there are none; None where a picture has no such file."""


class Described(NamedTuple):
    """What a record of the metadata says of a picture. licence: None where it has no value of that name."""

    captions: list[str]
    licence: str | None


class FolderCaptions:
    """The captions of the pictures of a tree.

    names: all files. extension: of the caption files, ".txt" or another; capitals make no difference.
    """

    def __init__(self, tree: Tree, names: Iterable[str], extension: str, notes: Counter[str]) -> None:
        self._tree = tree
        self._extension = extension
        self._notes = notes
        self.metadata_files = tuple(name for name in names if PurePosixPath(name).name in METADATA)
        self.metadata: dict[str, Described] = {}
        for name in self.metadata_files:
            self.metadata.update(read_metadata(tree, name))
        self._with_licences = any(described.licence for described in self.metadata.values())
        texts = sorted(name for name in names if name.lower().endswith(extension.lower()))
        self._texts = {name.lower(): name for name in reversed(texts)} | {name: name for name in texts}

    def find_file(self, picture: str) -> str | None:
        """photo.txt or photo.jpg.txt of photo.jpg, in whatever capitals; None where there is neither."""
        for name in (str(PurePosixPath(picture).with_suffix("")) + self._extension, picture + self._extension):
            if found := self._texts.get(name) or self._texts.get(name.lower()):
                return found
        return None

    def find_licence(self, picture: str) -> str | None:
        """What the metadata say; None for all pictures where they name the licence of none."""
        described = self.metadata.get(picture)
        return (described and described.licence) or (UNKNOWN if self._with_licences else None)

    def known(self, picture: str) -> bool:
        """Whether there is anything to take a caption from."""
        return picture in self.metadata or self.find_file(picture) is not None

    def load_all(self, pictures: Iterable[str]) -> Iterator[Loaded]:
        """What `load` gives of each, in their order; far away several are read at once."""
        return (read_ahead if self._tree.far else map)(self.load, pictures)

    def load(self, picture: str) -> Loaded:
        """The caption file of a picture."""
        file = self.find_file(picture)
        try:
            return self._tree.read(file, MAX_BYTES + 1) if file else None
        except Drop as drop:
            return Drop(f"caption: {drop.reason}")

    def read(self, picture: str, loaded: Loaded) -> tuple[str, ...]:
        """At least one. Raises Drop: "no caption", "caption not readable", and what was loaded."""
        if isinstance(loaded, Drop):
            raise loaded
        if loaded is not None:
            captions = self._read_file(loaded)
        else:
            lines = self.metadata[picture].captions if picture in self.metadata else []
            captions = [caption for line in lines if (caption := clean_caption(line, self._notes))]
        if not captions:
            raise Drop(NO_CAPTION)
        return tuple(captions)

    def _read_file(self, data: bytes) -> list[str]:
        text = decode_file(data)
        if not self._extension.lower().endswith(".json"):
            return clean_lines(text, self._notes)
        try:
            lines = texts_of(msgspec.json.decode(text))
        except (msgspec.MsgspecError, RecursionError):
            raise Drop(UNREADABLE) from None
        return [caption for line in lines if (caption := clean_caption(line, self._notes))]


def caption_of_name(picture: str, notes: Counter[str]) -> tuple[str, ...]:
    """The file's name without its ending, its underscores as spaces. Raises Drop("no caption")."""
    caption = clean_caption(PurePosixPath(picture).stem.replace("_", " "), notes)
    if not caption:
        raise Drop(NO_CAPTION)
    return (caption,)


def texts_of(record: Any) -> list[str]:
    """The captions of a record with one of COLUMNS: a text or a list of texts."""
    if not isinstance(record, Mapping):
        return []
    value: Any = next((record[name] for name in COLUMNS if record.get(name)), [])
    return [text for text in ([value] if isinstance(value, str) else value) if isinstance(text, str)]


def read_metadata(tree: Tree, name: str) -> dict[str, Described]:
    """File name below the tree -> what is said of it. Raises RequestError for what is malformed."""
    try:
        text = decode_text(tree.read(name))
    except (Drop, UnicodeDecodeError) as error:
        raise RequestError(f"{tree.root}/{name}: must be a text file ({error})") from None
    found: dict[str, Described] = {}
    for number, record in enumerate(_read_records(text, f"{tree.root}/{name}"), 1):
        file = record.get("file_name")
        if not isinstance(file, str) or not any(column in record for column in COLUMNS):
            columns = ", ".join(map(str, record))[:200]
            raise RequestError(
                f"{tree.root}/{name}: must have file_name and one of {', '.join(COLUMNS)}; "
                f"its record {number} has {columns or 'none'}"
            )
        found[posixpath.normpath(posixpath.join(posixpath.dirname(name), file))] = Described(
            texts_of(record), find_licence(record)
        )
    return found


def _read_records(text: str, where: str) -> Iterator[Mapping[str, Any]]:
    if where.endswith(".csv"):
        try:
            yield from csv.DictReader(io.StringIO(text.lstrip("\r\n"), newline=""))
        except csv.Error as error:  # a cell of more than 128 KiB, such as a quote that is never closed
            raise RequestError(f"{where}: must be CSV ({error})") from None
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = msgspec.json.decode(line)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise RequestError(f"{where}: line {number} must be JSON ({error})") from None
            if not isinstance(record, dict):
                raise RequestError(f"{where}: line {number} must be a JSON object")
            yield record
