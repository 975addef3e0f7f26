"""The stage that looks at every sample for the report: counts, the index, and the pictures of duplicates."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from t2i_shards.extractors.format import Format
from t2i_shards.extractors.maps.statistics import ClassStatistic
from t2i_shards.extractors.records import decode_record
from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.aligned import Aligned, Receipts, open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.exclusion import Exclusion, licence_name
from t2i_shards.pipeline.errors import DamagedShard, describe_error
from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.report.contents import Contents
from t2i_shards.pipeline.report.sample_index import SCORE, Entry, Place, rank, read_entry, read_score
from t2i_shards.pipeline.report.samples import Thumbnail, draw_aligned, draw_thumbnail
from t2i_shards.pipeline.report.search_index import Chunk
from t2i_shards.pipeline.report.side_files import encode_side_files
from t2i_shards.pipeline.report.strips import encode_strip, fits, name_strip
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.under_way import Parts

Bin = tuple[int, ...]
"""(width, height) of "stored"; else one number: that of the bin, or of the class."""
Counts = Mapping[str, Mapping[Bin, int]]
"""measure -> bin -> how many."""

SIDES = (*(64 * i for i in range(1, 17)), 1280, 1536, 1792, 2048, 2560, 3072, 4096, 6144, 8192)
"""Bin i of "original" holds short sides from SIDES[i - 1] to below SIDES[i], in pixels."""
SCORE_BINS = 4
"""Bins of "aesthetic" to one point of the score."""
PIXELS = "pixels of {}"
"""The measure that holds the pixels of each class, where that of the same name holds the pictures that show it."""

Measured = tuple[str, Counts]
"""(column, what was measured of one of its members)"""


@dataclass
class Tally:
    """samples: those counted. counts: (measure, column) -> bin -> how many, as `measures` has them."""

    samples: int = 0
    counts: dict[tuple[str, str], Counter[Bin]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, column: str, found: Counts) -> None:
        """Count what was measured of one member."""
        for measure, bins in found.items():
            self.counts[measure, column].update(bins)

    def merge(self, other: Tally) -> None:
        """Count what another counted too."""
        self.samples += other.samples
        for place, counts in other.counts.items():
            self.counts[place].update(counts)

    def of(self, measure: str) -> list[tuple[str, Counter[Bin]]]:
        """(column, its counts) of each column for which something was counted."""
        return [(column, counts) for (name, column), counts in self.counts.items() if name == measure]


def add_tallies(tallies: Iterable[Tally], columns: Iterable[str]) -> Tally:
    """The sum, its columns in this order, and nothing in the order in which tallies came."""
    found = Tally()
    for tally in tallies:
        found.merge(tally)
    order = {column: number for number, column in enumerate(columns)}
    places = sorted(found.counts, key=lambda place: (place[0], order[place[1]]))
    found.counts = {place: Counter(dict(sorted(found.counts[place].items()))) for place in places}
    return found


def measure_known(data: bytes) -> Counts:
    """A picture's json: its stored size, the short side of the original, and its aesthetic score where given."""
    info = decode_record(data, SampleInfo)
    side = min(info.placement.original)
    counts: dict[str, Mapping[Bin, int]] = {
        "stored": {(info.width, info.height): 1},
        "original": {(bisect_right(SIDES, side),): 1},
    }
    score = read_score(info)
    if score is not None:
        counts[SCORE] = {(int(score * SCORE_BINS // 1),): 1}
    return counts


def measure_map(form: Format, data: bytes) -> Counts:
    """What the condition's statistic counts of a map, from the member that `decode` reads."""
    statistic = form.statistic
    assert statistic is not None
    condition_map = form.decode({form.members[0]: data})
    if not isinstance(statistic, ClassStatistic):
        return {statistic.name: {(statistic.measure(condition_map),): 1}}
    pixels = statistic.measure(condition_map)
    return {
        statistic.name: {(value,): 1 for value in pixels},
        PIXELS.format(statistic.name): {(value,): count for value, count in pixels.items()},
    }


def list_measures() -> Mapping[str, Callable[[bytes], Counts]]:
    """member -> what is counted of it. A column is known by its members, for --as may have renamed it."""
    measured = {form.members[0]: partial(measure_map, form) for form in formats().values() if form.statistic}
    return {"json": measure_known, **measured}


@dataclass(frozen=True)
class Counted(StageResult):
    """What a look at one shard gave. thumbnails: key -> picture, of those that were asked for.

    licences: of the pictures that would be published, name -> samples. entries: what goes into the page; where it
    goes into side files, `chunks` and `contents` say what they hold. files: path -> strips and side files.
    problems: a line for each shard that is damaged, and so left out.
    """

    tally: Tally = field(default_factory=Tally)
    licences: Counter[str] = field(default_factory=Counter)
    entries: tuple[Entry, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    contents: Contents = field(default_factory=Contents)
    files: Mapping[str, bytes] = field(default_factory=dict)
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass
class CountSamples(Stage):
    """Stage: looks at a shard of every column, verified, and writes nothing.

    columns: images first. exclusion: what is not published; removed samples are not counted. pictures: keys whose
    pictures are wanted. limit: the rank below which entries of the index are handed on; those of the keys
    `shown` always are. strips: whether these samples get a strip. side_file: samples to a side file; 0 to hand
    their entries back.
    """

    dataset: Dataset
    columns: Sequence[str]
    exclusion: Exclusion
    pictures: Collection[str]
    shown: Collection[str]
    limit: int
    strips: bool = False
    side_file: int = 0

    def setup(self) -> None:
        use_threads(self.resources.cpus)

    def __call__(self, shard: int) -> Counted:
        aligned = open_aligned(self.dataset.store, shard, self.columns, load_verified)
        problems = tuple(map(str, aligned.problems.values()))
        if IMAGES not in aligned.samples:
            return Counted(problems=problems)
        removed = self.exclusion.removed.get(shard, ())
        kept = {c: [s for s in samples if s.key not in removed] for c, samples in aligned.samples.items()}
        parts = Parts(len(self.columns) + self.strips)
        tally, errors, measured = count(kept, parts)
        images = kept[IMAGES]
        thumbnails, unread = self._thumbnails(images)
        files, entries, chunks = self._index(shard, aligned, images, measured, parts)
        return Counted(
            receipts={IMAGES: aligned.receipts[IMAGES]},
            errors=(*errors, *unread),
            tally=tally,
            licences=self._licences(images, aligned.receipts),
            entries=() if self.side_file else entries,
            chunks=chunks,
            contents=Contents.of(entries, shard) if self.side_file else Contents(),
            files=files,
            thumbnails=thumbnails,
            problems=problems,
        )

    def _licences(self, images: Sequence[Sample], receipts: Receipts) -> Counter[str]:
        found = Counter[str]()
        for sample in images:
            with suppress(DamagedShard):  # its json is among the errors
                info = read_info(sample)
                if self.exclusion.reason(sample.key, receipts, info) is None:
                    found[licence_name(info)] += 1
        return found

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

    def _index(
        self,
        shard: int,
        aligned: Aligned[Sample],
        images: Sequence[Sample],
        measured: Mapping[str, Sequence[Measured]],
        parts: Parts,
    ) -> tuple[dict[str, bytes], tuple[Entry, ...], tuple[Chunk, ...]]:
        """The files of the samples that are searched, their entries, and what side files hold of these."""
        searched = [sample for sample in images if self._is_searched(sample.key)]
        drawn = [sample for sample in searched if self.strips and fits(sample.key)]
        files, notes = dict[str, bytes](), dict[str, Mapping[str, str]]()
        for row in parts.over(draw_aligned(aligned, self.columns, drawn)):
            files[name_strip(shard, row.key)] = encode_strip(row)
            notes[row.key] = {cell.column: cell.note for cell in row.cells if cell.image is None}
        entries = tuple(
            replace(
                make_entry(sample, measured.get(sample.key, ()), aligned.receipts),
                strip=shard if sample.key in notes else None,
                notes=notes.get(sample.key, {}),
            )
            for sample in searched
        )
        if not self.side_file:
            return files, entries, ()
        side_files, chunks = encode_side_files(entries, self.columns, shard, self.side_file)
        return files | side_files, entries, chunks

    def _is_searched(self, key: str) -> bool:
        return rank(key) < self.limit or key in self.shown


def count(
    columns: Mapping[str, Sequence[Sample]], parts: Parts
) -> tuple[Tally, tuple[str, ...], dict[str, list[Measured]]]:
    """(the tally of aligned columns, a line for each member that cannot be read, what was measured by key)"""
    tally, errors, measures = Tally(len(columns[IMAGES])), [], list_measures()
    measured = defaultdict[str, list[Measured]](list)
    for column, samples in columns.items():
        for sample in parts.over(samples):
            for member, measure in measures.items():
                if member not in sample.members:
                    continue
                try:
                    found = measure(bytes(sample.members[member]))
                except Exception as error:
                    errors.append(f"{column}: {sample.key}: {member} cannot be read: {describe_error(error)}")
                else:
                    tally.add(column, found)
                    measured[sample.key].append((column, found))
    return tally, tuple(errors), measured


def make_entry(sample: Sample, measured: Iterable[Measured], receipts: Receipts) -> Entry:
    """The sample's line in the index, with the numbers and classes of its maps and the columns that lack it."""
    entry = read_entry(sample)
    numbers, classes = dict[Place, float](entry.numbers), dict[Place, Sequence[int]]()
    for column, counts in measured:
        for form in formats().values():
            statistic = form.statistic
            if statistic is None or statistic.name not in counts:
                continue
            if isinstance(statistic, ClassStatistic):
                pixels = counts[PIXELS.format(statistic.name)]
                classes[statistic.name, column] = [v for (v,) in sorted(pixels, key=lambda b: (-pixels[b], b))]
            else:
                [(numbers[statistic.name, column],)] = counts[statistic.name]
    drops = {column: of.dropped[sample.key] for column, of in receipts.items() if sample.key in of.dropped}
    return replace(entry, numbers=numbers, classes=classes, drops=drops)
