"""The protocol of a source of pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.budget import WORKER_MEMORY
from t2i_shards.pipeline.download.reasons import kind_of
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import FORMATS
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.image.stored import Picture
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row

Seen: TypeAlias = Callable[[int], None]
"""Called, while a plan is made, with the number of rows of the input that were read since the last call."""


@dataclass(frozen=True)
class Original:
    """A picture as its source has it.

    content: uint8 (H, W, 3) RGB, or the bytes of a file of unknown origin, in one of `formats`; no bytes where
    only the truth was asked for. captions: at least one. info: what else is known, for the sample's json.
    truth: condition -> a function from the picture's placement to that condition's exact map, as
    `t2i_shards.extractors.maps.formats` defines it. http: the status of the answer, None where nothing was
    asked. annotated: (width, height) of the stored pixels that the truth is for, None where it is for any picture.
    """

    content: bytes | Picture
    captions: tuple[str, ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, Callable[[Placement], Any]] = field(default_factory=dict)
    formats: tuple[str, ...] = FORMATS
    http: int | None = None
    annotated: tuple[int, int] | None = None

    def check_annotated(self, size: tuple[int, int], turned: bool = False) -> None:
        """Raises Drop when the truth is not for a picture of this size, or one that was turned upright."""
        if self.annotated and turned:
            raise Drop("turned by its EXIF")
        if self.annotated not in (None, size):
            raise Drop("annotated at another size")


def unseen(rows: int) -> None:
    """A `Seen` that does nothing, where no progress is shown."""


Opener: TypeAlias = Callable[[Row], Original]
"""The picture of a row. Raises Drop with the reason when there is none."""


class Source(Protocol):
    """A frozen dataclass, pickled for the workers. What most sources have in common is defined here.

    It may keep what it has measured of its files, so each plan is made with a copy, which measures them again.
    """

    def __getstate__(self) -> dict[str, Any]:
        """For copies and workers: its fields, without what it has measured."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    crawl: ClassVar[bool] = True
    """Whether the pictures are other people's, who were not asked: publishing omits them unless asked."""

    @property
    @abstractmethod
    def repeatable(self) -> bool:
        """True where a row always gives the same picture; a download may answer otherwise each time."""

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        return Resources(memory=WORKER_MEMORY)

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """What dataset.json records: all that decides which rows there are, and their pictures."""

    @abstractmethod
    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        """The rows of the plan, always the same, their keys ascending; never all of them in memory.

        What is left out on purpose is told to `left_out` with its reason, files and samples by their names, and
        what of the rows was changed is counted there under one of
        `t2i_shards.pipeline.dataset.left_out.NOTES`. `seen` is called with the number of rows read so far.
        """

    def parts(self, drafts: PlanDrafts) -> Sequence[Part]:
        """Parts in which the rows can be read; none where they depend on each other.

        drafts: where a part may keep what it reads when it is counted.
        """
        return ()

    def arrange(self, parts: Sequence[Part], counted: Sequence[Counted]) -> Sequence[tuple[Part, int]]:
        """Parts whose rows one after the other are `rows`, each with how many it gives.

        parts, counted: of `parts`, and what each of them told.
        """
        return [(part, of.rows) for part, of in zip(parts, counted, strict=True)]

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        """Of rows and the reasons why they gave no sample, those that may give one now."""
        return iter(())

    def setup(self) -> None:
        """Get a worker process ready; called once in each."""
        return

    @abstractmethod
    def gather(
        self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True
    ) -> AbstractContextManager[Opener]:
        """Get ready for the rows of one shard: download them into `scratch`, open an archive.

        size: the short side that pictures are to have. pictures: False where only truths are asked for.
        """

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        """condition -> recipe, for the conditions whose exact maps this source knows."""
        return {}


@dataclass
class Counted:
    """What a part tells of itself. rows: how many it gives."""

    rows: int = 0


class Part(Protocol):
    """Some of the rows of a source, which a worker can read without the others. Picklable."""

    @property
    def seconds(self) -> float:
        """About how long one process takes to read it."""

    def count(self, left_out: LeftOut, seen: Seen = unseen) -> Counted:
        """How many rows it gives. What is left out is told as in `Source.rows`, without the notes of `rows`."""

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        """As `Source.rows`, of this part alone, after it was counted."""


def passing(failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
    """The rows of a download that failed in a way that may pass."""
    return (row for row, reason in failed if kind_of(reason) == "passing")
