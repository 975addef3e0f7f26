"""The contact sheet: which samples are shown, and how each of their members looks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np
import pyarrow as pa

from t2i_shards.extractors.registry import find_format
from t2i_shards.pipeline.dataset.aligned import Aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.report.sample_index import read_entry
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample

MOST_PAIRS = 12

MAX_WIDTH, MAX_HEIGHT = 768, 512
"""A shown picture is brought inside this; a page of 12 rows then stays under 10 MB."""
UNSEEN = (64, 64)
"""Height and width that a row is given whose picture cannot be opened."""

Members = Mapping[str, bytes | memoryview]


@dataclass(frozen=True)
class Thumbnail:
    """A picture as it is shown: uint8 (H, W, 3) RGB or (H, W) grey, and its caption."""

    key: str
    image: np.ndarray
    caption: str


@dataclass(frozen=True)
class Pair:
    """`key` is a duplicate of `of`. kind: "exact" (same file) or "near" (`bits` of 64 differ)."""

    key: str
    of: str
    kind: str
    bits: int


@dataclass(frozen=True)
class Duplicates:
    """kinds: kind -> pictures that are duplicates of earlier ones. groups: how many they are duplicates of.

    pairs: those to be shown. thumbnails: key -> picture, of their keys that could be read.
    """

    kinds: Mapping[str, int]
    groups: int
    pairs: tuple[Pair, ...]
    thumbnails: Mapping[str, Thumbnail]

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    @property
    def shown(self) -> list[tuple[Pair, Thumbnail, Thumbnail]]:
        """(pair, the earlier picture, its duplicate) of the pairs that have both."""
        seen = self.thumbnails
        return [(p, seen[p.of], seen[p.key]) for p in self.pairs if p.of in seen and p.key in seen]


def choose_pairs(table: pa.Table, removed: Collection[str]) -> tuple[Pair, ...]:
    """MOST_PAIRS of the table of duplicates, those that differ in most bits first; none of removed pictures."""
    names = ("key", "of", "kind", "bits")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    pairs = sorted((Pair(*row) for row in rows), key=lambda pair: (-pair.bits, pair.kind != "near", pair.key))
    return tuple(pair for pair in pairs if pair.key not in removed and pair.of not in removed)[:MOST_PAIRS]


def describe_duplicates(
    table: pa.Table, pairs: tuple[Pair, ...], thumbnails: Mapping[str, Thumbnail]
) -> Duplicates:
    """What a page shows of the table."""
    kinds = Counter(table["kind"].to_pylist())
    return Duplicates(dict(sorted(kinds.items())), len(set(table["of"].to_pylist())), pairs, thumbnails)


def draw_thumbnail(sample: Sample) -> Thumbnail:
    """The picture and first caption of a sample of images."""
    caption = bytes(sample.members["txt"]).decode("utf-8", "replace").strip()
    return Thumbnail(sample.key, shrink(decode_rgb(sample.members["jpg"])), caption)


@dataclass(frozen=True)
class Cell:
    """One picture of a row. image: uint8 (H, W, 3) RGB or (H, W) grey; None when `note` says why not."""

    column: str
    image: np.ndarray | None
    note: str = ""


@dataclass(frozen=True)
class SheetRow:
    """One sample. cells: the picture, then the map of each column. width, height: of the stored picture.

    name: of the original's file, or its URL; "" where none is known.
    """

    key: str
    caption: str
    width: int
    height: int
    cells: tuple[Cell, ...]
    name: str = ""


def choose_samples(receipts: Mapping[str, Mapping[int, Receipt]], rows: int) -> dict[int, list[int]]:
    """shard -> indices in it: `rows` samples, or all where there are fewer, spread evenly and always the same.

    Taken from the shards that are done in the most columns.
    """
    done = {shard: sum(shard in column for column in receipts.values()) for shard in receipts[IMAGES]}
    most = max(done.values(), default=0)
    shards = [s for s in sorted(done) if done[s] == most and receipts[IMAGES][s].samples]
    ends = list(accumulate(receipts[IMAGES][s].samples for s in shards))
    total = ends[-1] if ends else 0
    chosen: dict[int, list[int]] = defaultdict(list)
    count = min(rows, total)
    for i in range(count):
        position = (2 * i + 1) * total // (2 * count)
        at = bisect_right(ends, position)
        chosen[shards[at]].append(position - (ends[at - 1] if at else 0))
    return dict(chosen)


def draw_aligned(
    aligned: Aligned[Sample], columns: Collection[str], samples: Iterable[Sample]
) -> Iterator[SheetRow]:
    """The rows of these samples of a shard's images, which are sound, with the maps of all columns."""
    found: dict[str, Mapping[str, Members] | str] = dict.fromkeys(aligned.problems, "damaged")
    found |= {column: {s.key: s.members for s in there} for column, there in aligned.samples.items()}
    dropped = {c: aligned.receipts[c].dropped if c in aligned.receipts else {} for c in columns if c != IMAGES}
    return draw_rows(samples, found, dropped)


def draw_rows(
    samples: Iterable[Sample],
    columns: Mapping[str, Mapping[str, Members] | str],
    dropped: Mapping[str, Mapping[str, str]],
) -> Iterator[SheetRow]:
    """The rows of these samples of images, one at a time.

    columns: column -> key -> members, or a word that says why there are none. dropped: column -> key -> reason.
    """
    for sample in samples:
        try:
            picture = decode_rgb(sample.members["jpg"])
            cells, (height, width) = [Cell(IMAGES, shrink(picture))], picture.shape[:2]
        except ValueError as error:
            cells, (height, width) = [Cell(IMAGES, None, f"cannot be drawn: {error}")], UNSEEN
        for column, reasons in dropped.items():
            found = columns.get(column, "not made yet")
            if isinstance(found, str):
                cells.append(Cell(column, None, found))
            elif sample.key in found:
                cells.append(_draw(column, found[sample.key], height, width))
            else:
                cells.append(Cell(column, None, f"dropped: {reasons.get(sample.key, 'unknown')}"))
        caption = bytes(sample.members["txt"]).decode("utf-8", "replace").strip()
        yield SheetRow(sample.key, caption, width, height, tuple(cells), read_entry(sample).name)


def _draw(column: str, members: Members, height: int, width: int) -> Cell:
    """The map as the adapter sees it. A column is known by its members, for --as may have renamed it."""
    form = find_format(members)
    if form is None:
        return Cell(column, None, f"cannot be drawn: {', '.join(members)}")
    try:
        decoded = form.decode({name: bytes(data) for name, data in members.items()})
        return Cell(column, shrink(form.render(decoded, height, width)))
    except ValueError as error:
        return Cell(column, None, f"cannot be drawn: {error}")


def shrink(image: np.ndarray, most_width: int = MAX_WIDTH, most_height: int = MAX_HEIGHT) -> np.ndarray:
    """uint8 (H, W, 3) or (H, W), inside the limits, as one channel where all channels are the same."""
    if image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    height, width = image.shape[:2]
    scale = min(1.0, most_width / width, most_height / height)
    if scale == 1.0:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
