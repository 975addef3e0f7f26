"""WebDataset shards of others: img2dataset's output, sets of the Hub, or what people made themselves."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.budget import WORKER_MEMORY
from t2i_shards.extractors.records import decode_record
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.scratch import make_scratch, temporary_folder
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.shards.receipt import to_compact_json
from t2i_shards.pipeline.shards.remote_read import read_with_retry
from t2i_shards.pipeline.sources.base import Opener, Original
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tars.archive import NotATar, read_mark
from t2i_shards.pipeline.sources.tars.order import INPUT_KEY, RowsOnDisk
from t2i_shards.pipeline.sources.tars.samples import Choice, TarSample
from t2i_shards.pipeline.sources.tars.sums import check_sum, read_sums

NO_FILE = "no such file"
PICTURE_BYTES = 256 << 20
"""Of a picture's member; a longer one is a named drop and is not read."""


@dataclass(frozen=True)
class TarsSource:
    """Samples of the tars that match a pattern: a glob, a folder, or one file, here or at a URL."""

    pattern: str
    choice: Choice = field(default_factory=Choice)

    def __post_init__(self) -> None:
        # A worker of a cluster has another working folder than the command.
        if "://" not in self.pattern:
            object.__setattr__(self, "pattern", str(Path.cwd() / self.pattern))

    @property
    def repeatable(self) -> bool:
        return True

    @property
    def resources(self) -> Resources:
        return Resources(memory=WORKER_MEMORY)

    @property
    def _tars(self) -> Pattern:
        return Pattern(self.pattern, (".tar",))

    def _find(self) -> list[InputFile]:
        files = self._tars.find()
        if not files:
            raise RequestError(
                f"must be tars, such as 'DIR/*.tar' in quotes, or a folder of them; none are at {self.pattern}"
            )
        return files

    def describe(self) -> Mapping[str, Any]:
        files = self._find()
        lines = "".join(f"{file.name}\0{file.size}\n" for file in files)
        return {
            "kind": "tars",
            **asdict(self.choice),
            "tars": len(files),
            "tars_sha256": hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
        }

    def rows(self, left_out: Counter[str]) -> Iterator[Row]:
        """Keys are those of the tars, where all of them are legal and unique; else the samples are numbered."""
        folder, sums = make_scratch(temporary_folder()), read_sums(self._tars)
        try:
            with closing(RowsOnDisk(folder)) as rows:
                for file in self._find():
                    with self._tars.open(file.name) as tar:
                        check_sum(file, tar, sums)
                        for row in self._read_tar(file, tar, left_out):
                            rows.add(row)
                yield from rows
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _read_tar(self, file: InputFile, tar: BinaryIO, left_out: Counter[str]) -> Iterator[Row]:
        try:
            for sample in self.choice.read_samples(tar, file.size, left_out):
                yield _make_row(file.name, sample)
        except NotATar as error:
            raise RequestError(f"{file.path}: must be a tar, not packed by gzip or the like ({error})") from None

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        """The rows whose tar was missing and is there now."""
        there = {file.name for file in self._tars.find()}
        return (row for row, reason in failed if reason == NO_FILE and row.extra["tar"] in there)

    def setup(self) -> None:
        """Nothing to get ready."""

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        """The tars of these rows, each opened once; rows that follow one another are read in one go."""
        with ExitStack() as stack:
            opened: dict[str, BinaryIO | None] = {}

            def open_row(row: Row) -> Original:
                name = row.extra["tar"]
                if name not in opened:
                    try:
                        opened[name] = stack.enter_context(self._tars.open(name))
                    except FileNotFoundError:
                        opened[name] = None
                if (tar := opened[name]) is None:
                    raise Drop(NO_FILE)
                return _read_original(row, tar)

            yield open_row

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


def _make_row(tar: str, sample: TarSample) -> Row:
    picture, url = sample.picture, sample.known.get("url")
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
        },
    )


def _read_original(row: Row, tar: BinaryIO) -> Original:
    """The picture of a row. Raises Drop."""
    at, size = row.extra["at"], row.extra["size"]
    if size > PICTURE_BYTES:
        raise Drop("file too large")
    content = read_with_retry(row.location, lambda: _read_member(tar, at, size, row.extra["mark"]))
    if content is None:
        raise Drop("tar changed since it was planned")
    known = decode_record(row.extra["json"].encode(), dict[str, Any])
    known.pop("location", None)
    if row.extra[INPUT_KEY] is not None:
        known["key"] = row.extra[INPUT_KEY]
    return Original(content, row.captions, {**known, "tar": row.extra["tar"]}, formats=WEB_FORMATS)


def _read_member(tar: BinaryIO, at: int, size: int, mark: int) -> bytes | None:
    """The bytes of a member; None where the tar is no longer the one that was planned."""
    content = tar.read(size) if read_mark(tar, at) == mark else b""
    return content if len(content) == size else None
