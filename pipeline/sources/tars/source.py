"""WebDataset shards of others: img2dataset's output, sets of the Hub, or what people made themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from t2i_shards.extractors.records import decode_record
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.input_files import NO_RANGES, InputFile, Pattern, has_no_ranges
from t2i_shards.pipeline.shards.receipt import to_compact_json
from t2i_shards.pipeline.sources.base import Counted, Opener, Original, Part, Seen, Source, unseen
from t2i_shards.pipeline.sources.files import (
    check_base,
    check_size,
    digest_files,
    find_files,
    is_far,
    make_absolute,
)
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tars.archive import NotATar, check_sum, read_mark, read_sums
from t2i_shards.pipeline.sources.tars.maps import MapColumn, png_size
from t2i_shards.pipeline.sources.tars.order import INPUT_KEY, Keys, order_on_disk
from t2i_shards.pipeline.sources.tars.parts import TarPart, arrange_tars
from t2i_shards.pipeline.sources.tars.samples import MemberChoice, TarSample
from t2i_shards.pipeline.sources.tree import MENDABLE, read_or_drop


@dataclass(frozen=True)
class TarsSource(Source):
    """Samples of the tars that match a pattern: a glob, a folder, or one file, here or at a URL."""

    pattern: str
    choice: MemberChoice = field(default_factory=MemberChoice)
    columns: tuple[MapColumn, ...] = ()
    """Conditions whose maps are members of the samples too; a sample without one of them is left out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", make_absolute(self.pattern))

    @property
    def _tars(self) -> Pattern:
        return Pattern(self.pattern, (".tar",))

    @functools.cached_property
    def _files(self) -> list[InputFile]:
        return find_files(self._tars, "must be tars, such as 'DIR/*.tar' in quotes, or a folder of them")

    @functools.cached_property
    def _sums(self) -> Mapping[str, str]:
        return read_sums(self._tars)

    def _open(self, name: str) -> BinaryIO:
        """Raises Drop, and Unreachable."""
        return read_or_drop(name, lambda: self._tars.open(name), is_far(self._tars))

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "tars",
            **{name: value for name, value in asdict(self.choice).items() if name != "license_key" or value},
            **({"columns": [asdict(column) for column in self.columns]} if self.columns else {}),
            "tars": len(self._files),
            "tars_sha256": digest_files((file.name, file.size) for file in self._files),
        }

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        """Keys are those of the tars, where all of them are legal and unique; else the samples are numbered."""

        def read() -> Iterator[Row]:
            for file in self._files:
                for row in self._read_tar(self._sums, file, left_out):
                    seen(1)
                    yield row

        return order_on_disk(read())

    def parts(self, drafts: PlanDrafts) -> Sequence[Part]:
        """The tars."""
        source, sums = replace(self), self._sums

        def read_in_worker(file: InputFile) -> partial[Iterator[Row]]:
            return partial(source._read_tar, {name: sums[name] for name in (file.name,) if name in sums})

        return [TarPart(read_in_worker(file), file, drafts, number) for number, file in enumerate(self._files)]

    def arrange(self, parts: Sequence[Part], counted: Sequence[Counted]) -> Sequence[tuple[Part, int]]:
        tars = [part for part in parts if isinstance(part, TarPart)]
        return arrange_tars(tars, [keys for keys in counted if isinstance(keys, Keys)])

    def _read_tar(self, sums: Mapping[str, str], file: InputFile, left_out: LeftOut) -> Iterator[Row]:
        """Its rows, under the keys that they have in it, no two of them the same."""
        check_base(self._tars)
        with self._tars.open(file.name) as tar:
            check_sum(file, tar, sums)
            yield from self._read_rows(file, tar, left_out)

    def _read_rows(self, file: InputFile, tar: BinaryIO, left_out: LeftOut) -> Iterator[Row]:
        if file.size is None:  # so a server's file that can only be read from its start to its end
            raise RequestError(f"{file.path}: {NO_RANGES}")
        try:
            for sample in self.choice.read_samples(file.name, tar, file.size, left_out):
                lacking = next((c.member for c in self.columns if c.member not in sample.members), None)
                if lacking is None:
                    yield self._make_row(file.name, sample)
                else:
                    left_out.name(f"no {lacking}", f"{file.name}/{sample.picture.name}")
        except ValueError as error:
            if has_no_ranges(error):
                raise RequestError(f"{file.path}: {NO_RANGES}") from None
            if isinstance(error, NotATar):
                line = f"{file.path}: must be a tar, not packed by gzip or the like ({error})"
                raise RequestError(line) from None
            raise

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        """The rows whose tar was missing or not readable, and opens now."""
        opens = functools.cache(self._opens)
        return (row for row, reason in failed if reason in MENDABLE and opens(row.extra["tar"]))

    def _opens(self, name: str) -> bool:
        try:
            self._open(name).close()
        except Drop:
            return False
        return True

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        """The tars of these rows, each opened once; rows that follow one another are read in one go."""
        check_base(self._tars)
        with ExitStack() as stack:
            opened: dict[str, BinaryIO | Drop] = {}

            def open_row(row: Row) -> Original:
                name = row.extra["tar"]
                if name not in opened:
                    try:
                        opened[name] = stack.enter_context(self._open(name))
                    except Drop as drop:
                        opened[name] = drop
                if isinstance(tar := opened[name], Drop):
                    raise Drop(tar.reason)
                return self._read_original(row, tar)

            yield open_row

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {column.condition: column.recipe() for column in self.columns}

    def _make_row(self, tar: str, sample: TarSample) -> Row:
        picture, url = sample.picture, sample.known.get("url")
        maps = [sample.members[column.member] for column in self.columns]
        return Row(
            key=sample.key,
            location=f"{tar}/{picture.name}",
            captions=sample.captions,
            extra={
                "tar": tar,
                "at": picture.at,
                "size": picture.size,
                "mark": picture.mark,
                "url": url if isinstance(url, str) else None,
                "json": to_compact_json(sample.known).decode(),
                INPUT_KEY: None,
                **({"maps": [[of.at, of.size, of.mark] for of in maps]} if maps else {}),
            },
        )

    def _read_original(self, row: Row, tar: BinaryIO) -> Original:
        """The picture of a row, and its maps. Raises Drop."""
        extra, read = row.extra, partial(self._read_member, row.location, tar)
        content = read(extra["at"], extra["size"], extra["mark"])
        maps = [read(*place) for place in extra.get("maps", ())]
        known = decode_record(extra["json"].encode(), dict[str, Any])
        known.pop("location", None)
        if extra[INPUT_KEY] is not None:
            known["key"] = extra[INPUT_KEY]
        return Original(
            content,
            row.captions,
            {**known, "tar": extra["tar"]},
            truth={c.condition: partial(c.place, data) for c, data in zip(self.columns, maps, strict=True)},
            formats=WEB_FORMATS,
            annotated=png_size(maps[0]) if maps else None,
        )

    def _read_member(self, location: str, tar: BinaryIO, at: int, size: int, mark: int) -> bytes:
        """Raises Drop, also where the tar is no longer the one that was planned."""
        check_size(size)

        def read() -> bytes | None:
            return tar.read(size) if read_mark(tar, at) == mark else None

        content = read_or_drop(location, read, is_far(self._tars))
        if content is None or len(content) != size:
            raise Drop("tar changed since it was planned")
        return content
