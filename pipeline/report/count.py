"""The stage that looks at every sample for the report: counts, captions, and the pictures of duplicates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from extractors.base import Resources
from pipeline.commit import load_receipt
from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import DamagedShard
from pipeline.image import use_threads
from pipeline.receipt import Receipt
from pipeline.report.aligned import open_aligned
from pipeline.report.captions import Captioned, rank, read_caption
from pipeline.report.measures import MEASURES
from pipeline.report.pairs import Thumbnail, draw_thumbnail
from pipeline.report.tally import Tally
from pipeline.sample import Sample
from pipeline.stage import Made, describe_error


@dataclass(frozen=True)
class Counted(Made):
    """What a look at one shard gave. thumbnails: key -> the picture, of those that were asked for.

    problems: a line for each shard that is damaged, and so left out.
    """

    tally: Tally = field(default_factory=Tally)
    captions: tuple[Captioned, ...] = ()
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass
class Count:
    """Stage: looks at a shard of every column, verified, and writes nothing.

    columns: images first. removed: shard -> keys that are not counted. pictures: keys whose pictures are wanted.
    limit: the rank (see `captions`) below which captions are handed on; those of the keys `shown` always are.
    """

    dataset: Dataset
    columns: Sequence[str]
    removed: Mapping[int, Collection[str]]
    pictures: Collection[str]
    shown: Collection[str]
    limit: int
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        use_threads(self.resources.cpus)

    def __call__(self, shard: int) -> Counted:
        receipts, damaged = self._receipts(shard)
        if IMAGES not in receipts:
            return Counted(problems=damaged)
        aligned = open_aligned(self.dataset.store, receipts)
        problems = (*damaged, *aligned.problems)
        if not aligned.samples:
            return Counted(problems=problems)
        removed = self.removed.get(shard, ())
        kept = {c: [s for s in samples if s.key not in removed] for c, samples in aligned.samples.items()}
        tally, errors = count(kept)
        images = kept[IMAGES]
        thumbnails, unread = self._thumbnails(images)
        return Counted(
            receipts={IMAGES: receipts[IMAGES]},
            errors=(*errors, *unread),
            tally=tally,
            captions=tuple(read_caption(sample) for sample in images if self._is_searched(sample.key)),
            thumbnails=thumbnails,
            problems=problems,
        )

    def _thumbnails(self, images: Sequence[Sample]) -> tuple[dict[str, Thumbnail], list[str]]:
        """The pictures that are wanted, by key, and a line for each that cannot be opened."""
        drawn, unread = dict[str, Thumbnail](), list[str]()
        for sample in images:
            if sample.key in self.pictures:
                try:
                    drawn[sample.key] = draw_thumbnail(sample)
                except ValueError as error:
                    unread.append(f"{IMAGES}: {sample.key}: jpg cannot be read: {describe_error(error)}")
        return drawn, unread

    def _is_searched(self, key: str) -> bool:
        return rank(key) < self.limit or key in self.shown

    def _receipts(self, shard: int) -> tuple[dict[str, Receipt], tuple[str, ...]]:
        """The receipts of the shard's columns that are made, and a line for each that is damaged."""
        receipts, damaged = dict[str, Receipt](), []
        for column in self.columns:
            try:
                receipt = load_receipt(self.dataset.store, column, shard)
            except DamagedShard as error:
                damaged.append(str(error))
                continue
            if receipt is not None:
                receipts[column] = receipt
        return receipts, tuple(damaged)


def count(columns: Mapping[str, Sequence[Sample]]) -> tuple[Tally, tuple[str, ...]]:
    """The tally of aligned columns, and a line for each member that cannot be read."""
    tally, errors = Tally(len(columns[IMAGES])), []
    for column, samples in columns.items():
        for sample in samples:
            for member, measure in MEASURES.items():
                if member not in sample.members:
                    continue
                try:
                    tally.add(column, measure(bytes(sample.members[member])))
                except Exception as error:
                    errors.append(f"{column}: {sample.key}: {member} cannot be read: {describe_error(error)}")
    return tally, tuple(errors)
