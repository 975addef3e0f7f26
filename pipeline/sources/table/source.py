"""A table of pictures and captions: the pictures lie in it, or in files that it names."""

from __future__ import annotations

import posixpath
import shutil
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.scratch import make_scratch, temporary_folder
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.shards.remote_read import read_with_retry
from t2i_shards.pipeline.sources.base import Counted, Opener, Original, Part, Seen, Source, unseen
from t2i_shards.pipeline.sources.captions import SHORTENED, decode_text
from t2i_shards.pipeline.sources.files import (
    PICTURE_BYTES,
    check_base,
    check_size,
    digest_files,
    find_at_work,
    make_absolute,
)
from t2i_shards.pipeline.sources.licence import LICENCE, clean_licence
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.table.pictures import (
    ImageColumn,
    Pictures,
    collect_pictures,
    find_caption_column,
    find_image_column,
    find_licence_column,
    has_urls,
)
from t2i_shards.pipeline.sources.tables.find import BATCH, ENDINGS, ROW_SECONDS, find_tables, open_table
from t2i_shards.pipeline.sources.tables.text import read_captions
from t2i_shards.pipeline.sources.tree import MENDABLE, open_tree

NO_PICTURE = "no picture"


@dataclass(frozen=True)
class TableSource(Source):
    """The rows of the tables that match a pattern: a glob, a folder, or one file, here or at a URL.

    image_column, caption_column, license_column: where they have no name that is known.
    """

    pattern: str
    image_column: str | None = None
    caption_column: str | None = None
    license_column: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", make_absolute(self.pattern))

    @property
    def _tables(self) -> Pattern:
        return Pattern(self.pattern, ENDINGS)

    def _image_column(self, file: InputFile) -> ImageColumn:
        column = find_image_column(open_table(file), file.path, self.image_column)
        if column is None:
            had = ", ".join(open_table(file).names()) or "none"
            raise RequestError(
                f"{file.path}: must have a column of pictures, which --image-column names (or --url-column); "
                f"it has {had}"
            )
        return column

    @cached_property
    def _measured(self) -> list[tuple[InputFile, int, str]]:
        """(table, its rows, its digest)"""
        return [(file, *open_table(file).measure()) for file in find_tables(self.pattern, "the pattern")]

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "table",
            "image_column": self.image_column,
            "caption_column": self.caption_column,
            **({"license_column": self.license_column} if self.license_column else {}),
            "tables": len(self._measured),
            "rows": sum(rows for _, rows, _ in self._measured),
            "tables_sha256": digest_files((file.name, file.size, digest) for file, _, digest in self._measured),
        }

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        """Key: the row's position, counted through all tables in the order of their names."""
        position = 0
        for file, _, _ in self._measured:
            position = yield from self.read_rows(file, position, left_out, seen)

    def parts(self, drafts: PlanDrafts) -> Sequence[Part]:
        """The tables."""
        starts = accumulate((size for _, size, _ in self._measured), initial=0)
        source = replace(self)  # without what was measured: it travels to the workers
        return [
            TablePart(source, file, start, size)
            for (file, size, _), start in zip(self._measured, starts, strict=False)
        ]

    def read_rows(
        self, file: InputFile, position: int, left_out: Counter[str], seen: Seen
    ) -> Generator[Row, None, int]:
        """The rows of one table, the first of which has this position. The position behind the last."""
        for number, captions, path, licence in self._read_table(file, left_out):
            if captions:
                location = path if path is not None else f"{file.name}#{number}"
                extra = {"table": file.name, "row": number, "path": path}
                if licence is not None:  # plans that an earlier version began have no such column
                    extra[LICENCE] = licence
                yield Row(f"{position:09d}", location, captions, extra=extra)
            else:
                left_out["no caption"] += 1
            position += 1
            seen(1)
        return position

    def _read_table(
        self, file: InputFile, notes: Counter[str]
    ) -> Iterator[tuple[int, tuple[str, ...], str | None, str | None]]:
        """(number in its table, captions, path of its picture, licence) of each row.

        The path is None where the picture lies in the table, the licence where that has no column of them.
        """
        table, image = open_table(file), self._image_column(file)
        columns = {"caption": find_caption_column(table, file.path, self.caption_column)}
        if image.form == "path":
            columns["path"] = image.name
        if licence_column := find_licence_column(table, file.path, self.license_column):
            columns[LICENCE] = licence_column
        number = 0
        for batch in table.read(columns, frozenset(columns), BATCH):
            captions = batch["caption"].to_pylist()
            paths = batch["path"].to_pylist() if image.form == "path" else [None] * len(captions)
            licences = read_licences(batch.get(LICENCE), len(captions))
            for texts, path, licence in zip(captions, paths, licences, strict=True):
                # A row without a path names none that could be there, and is a drop.
                name = None if image.form != "path" else decode_text(path or b"", "replace")
                if name and name.startswith(("http://", "https://")):
                    raise RequestError(f"{file.path}: its column {image.name} holds URLs; name it by --url-column")
                yield number, read_captions(texts or [], notes), name, licence
                number += 1

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        """The rows whose picture's file was missing or not readable, and can be read now."""
        rows = [row for row, reason in failed if reason in MENDABLE]
        scratch = make_scratch(temporary_folder())
        try:
            with self._collect(rows, scratch) as found:
                for row in rows:
                    with suppress(Drop):
                        self._read(row, found, 1)
                        yield row
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        """The pictures that lie in tables are copied into `scratch` first, those of each table in one go."""
        with self._collect(rows if pictures else [], scratch) as found:
            yield lambda row: self._open(row, found)

    @contextmanager
    def _collect(self, rows: Sequence[Row], scratch: Path) -> Iterator[Mapping[str, Pictures]]:
        """Table -> what these rows hold. RequestError where the tables or their folder are gone."""
        check_base(self._tables)
        by_table: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row.extra["path"] is None:
                by_table[row.extra["table"]].append(row.extra["row"])
        files = find_at_work(self._tables, by_table) if by_table else {}
        with open(scratch / "pictures", "w+b") as copy:
            found = {table: Pictures(copy) for table in by_table}
            for table, numbers in by_table.items():
                file, numbers = files[table], sorted(numbers)
                read_with_retry(file.path, partial(self._collect_from, file, numbers, found[table]))
            yield found

    def _collect_from(self, file: InputFile, numbers: Sequence[int], into: Pictures) -> None:
        with file.open() as stream, file.open() as again:
            collect_pictures(stream, again, file.path, self._image_column(file), numbers, into)

    def _open(self, row: Row, found: Mapping[str, Pictures]) -> Original:
        """The picture of a row. Raises Drop."""
        content = self._read(row, found, PICTURE_BYTES + 1)
        check_size(len(content))
        licence = {LICENCE: row.extra[LICENCE]} if row.extra.get(LICENCE) else {}
        info = {"table": row.extra["table"], "row": row.extra["row"], **licence}
        return Original(content, row.captions, info, formats=WEB_FORMATS)

    def _read(self, row: Row, found: Mapping[str, Pictures], most: int) -> bytes:
        """The picture's bytes, or of a file the first `most`. Raises Drop."""
        table, path = row.extra["table"], row.extra["path"]
        content = found[table].get(row.extra["row"]) if path is None else path
        if content is None or content == "":
            raise Drop(NO_PICTURE)
        if isinstance(content, bytes):
            return content
        name = posixpath.normpath(posixpath.join(posixpath.dirname(table), content))
        return open_tree(self._tables.base).read(name, most)


@dataclass(frozen=True)
class TablePart(Part):
    """The rows of one table, the first of which has the position `start` among those of all."""

    source: TableSource
    file: InputFile
    start: int
    size: int

    @property
    def seconds(self) -> float:
        return self.size * ROW_SECONDS

    def count(self, left_out: Counter[str], seen: Seen = unseen) -> Counted:
        counts = Counter[str]()
        counted = Counted(sum(1 for _ in self.rows(counts, seen)))
        del counts[SHORTENED]  # a note, which `rows` counts
        left_out.update(counts)
        return counted

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        yield from self.source.read_rows(self.file, self.start, left_out, seen)


def read_licences(column: pa.Array | None, count: int) -> list[str | None]:
    """Those of so many rows, None where there is no column."""
    if column is None:
        return [None] * count
    return [clean_licence(decode_text(text or b"", "replace")) for text in column.to_pylist()]


def names_urls_alone(pattern: str) -> bool:
    """Whether the first of the tables has a column that is known to hold URLs, and none that holds pictures."""
    file = find_tables(pattern, "the pattern")[0]
    table = open_table(file)
    image = find_image_column(table, file.path, None)
    return has_urls(table.names()) and (image is None or image.form == "path")
