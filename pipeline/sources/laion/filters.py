"""Which rows of the metadata are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.sources.tables.text import MAX_URL, blank

REASONS = (
    "language unknown",
    "language not asked for",
    "aesthetic unknown",
    "aesthetic below minimum",
    "watermark unknown",
    "watermark above maximum",
    "unsafe unknown",
    "unsafe above maximum",
    "similarity unknown",
    "similarity below minimum",
    "size unknown",
    "size below minimum",
    "aspect above maximum",
    "no url",
    "url too long",
    "no caption",
)
"""Why a row is left out; one that has several reasons counts under the first of them in this order."""

LIMITS = (
    ("min_aesthetic", "aesthetic"),
    ("max_watermark", "pwatermark"),
    ("max_unsafe", "punsafe"),
    ("min_similarity", "similarity"),
)


@dataclass(frozen=True)
class Filters:
    """What a row must have. A row without the value that a filter asks about is left out as "… unknown"."""

    min_aesthetic: Common[float | None] = None
    """Least aesthetic score (LAION-Aesthetics V2: 1 to 10)."""
    max_watermark: float | None = None
    """Greatest probability of a watermark, 0 to 1."""
    max_unsafe: float | None = None
    """Greatest probability of being unsafe for work, 0 to 1."""
    min_similarity: float | None = None
    """Least CLIP similarity of picture and caption."""
    min_size: Common[int | None] = None
    """Least length of the shorter side, in pixels, as the metadata has it."""
    max_aspect: float | None = None
    """Greatest ratio of the longer to the shorter side."""
    language: tuple[str, ...] = ()
    """Languages to keep, as the metadata spells them (en, de, …); all when not given."""

    def __post_init__(self) -> None:
        for name in ("min_aesthetic", "max_watermark", "max_unsafe", "min_similarity"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise RequestError(f"--{name.replace('_', '-')} must be a finite number, not {value}")
        if self.min_size is not None and self.min_size < 1:
            raise RequestError(f"--min-size must be at least 1 pixel, not {self.min_size}")
        if self.max_aspect is not None and not (isfinite(self.max_aspect) and self.max_aspect >= 1):
            raise RequestError(f"--max-aspect must be a ratio of at least 1, not {self.max_aspect}")

    def needs(self) -> Iterator[tuple[str, str]]:
        """(column, the option that asks for it)"""
        if self.language:
            yield "language", "--language"
        for name, column in LIMITS:
            if getattr(self, name) is not None:
                yield column, f"--{name.replace('_', '-')}"
        for name in ("min_size", "max_aspect"):
            if getattr(self, name) is not None:
                yield from ((side, f"--{name.replace('_', '-')}") for side in ("width", "height"))

    def judge(self, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """int8 (N,): the index in REASONS of the first reason to leave a row out, -1 for none.

        columns: our name -> values: binary for texts, numbers for the rest.
        """
        verdict = np.full(len(columns["url"]), -1, np.int8)
        for reason, fails in self._checks(columns):
            verdict[fails & (verdict < 0)] = REASONS.index(reason)
        return verdict

    def _checks(self, columns: Mapping[str, pa.Array]) -> Iterator[tuple[str, np.ndarray]]:
        if self.language:
            yield from _check_language(columns["language"], self.language)
        for name, column in LIMITS:
            limit = getattr(self, name)
            if limit is not None:
                yield from _check_limit(name, numbers(columns[column]), limit)
        if self.min_size is not None or self.max_aspect is not None:
            yield from self._check_size(numbers(columns["width"]), numbers(columns["height"]))
        yield "no url", blank(columns["url"])
        yield "url too long", _lengths(columns["url"]) > MAX_URL
        yield "no caption", blank(columns["caption"])

    def _check_size(self, width: np.ndarray, height: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        short, long = np.minimum(width, height), np.maximum(width, height)
        yield "size unknown", ~((short > 0) & np.isfinite(long))
        if self.min_size is not None:
            yield "size below minimum", short < self.min_size
        if self.max_aspect is not None:
            yield "aspect above maximum", long > short * self.max_aspect


def _check_limit(name: str, values: np.ndarray, limit: float) -> Iterator[tuple[str, np.ndarray]]:
    kind, _, subject = name.partition("_")
    yield f"{subject} unknown", ~np.isfinite(values)
    # A Python number takes the precision of the column, so a float32 0.3 is not above 0.3.
    if kind == "min":
        yield f"{subject} below minimum", values < limit
    else:
        yield f"{subject} above maximum", values > limit


def _check_language(column: pa.Array, wanted: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    encoded = column.dictionary_encode()
    names = [name.decode("utf-8", "replace").strip().lower() for name in encoded.dictionary.to_pylist()]
    # One more at the end, for null has no index.
    indices = encoded.indices.fill_null(len(names)).to_numpy()
    asked = {name.strip().lower() for name in wanted}
    yield "language unknown", np.array([not name for name in names] + [True])[indices]
    yield "language not asked for", np.array([name not in asked for name in names] + [True])[indices]


def numbers(column: pa.Array) -> np.ndarray:
    """Float (N,), NaN where unknown; in the precision of the column where it has floating numbers."""
    if not pa.types.is_floating(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _lengths(texts: pa.Array) -> np.ndarray:
    lengths: np.ndarray = pc.binary_length(texts).fill_null(0).to_numpy()
    return lengths
