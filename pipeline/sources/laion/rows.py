"""From columns of the metadata to rows of the plan."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tables.find import TEXTS, Columns
from t2i_shards.pipeline.sources.tables.text import clean_digest, clean_url, read_captions

WHOLE = frozenset({"width", "height"})
PLAN = frozenset({"url", "caption", "digest"})


def select(columns: Columns, chosen: np.ndarray) -> Columns:
    """The rows at the indices `chosen`."""
    indices = pa.array(chosen)
    return {ours: column.take(indices) for ours, column in columns.items()}


def make_rows(
    columns: Columns, positions: np.ndarray, digits: int, names: Sequence[str], notes: Counter[str]
) -> Iterator[Row]:
    """Rows whose keys are their positions in so many digits.

    names: the columns that any file has, so that all rows of the plan have the same ones; a file that lacks one
    has null there. notes: counts captions that had to be cut.
    """
    count = len(positions)
    sources = [name for name in names if name not in PLAN]
    values = [source_values(name, columns[name]) if name in columns else [None] * count for name in sources]
    digests = columns["digest"].to_pylist() if "digest" in columns else [None] * count
    known = zip(*values, strict=True) if values else iter([()] * count)
    for position, url, caption, digest, more in zip(
        positions.tolist(), columns["url"].to_pylist(), columns["caption"].to_pylist(), digests, known, strict=True
    ):
        yield Row(
            key=f"{position:0{digits}d}",
            location=clean_url(url),
            captions=read_captions(caption, notes),
            digest=clean_digest(digest),
            extra=dict(zip(sources, more, strict=True)),
        )


def source_values(name: str, column: pa.Array) -> list[Any]:
    """A column as JSON has it: None for null, NaN and infinities; whole numbers of pixels."""
    values: list[Any] = column.to_pylist()
    if name in TEXTS:
        return [None if value is None else value.decode("utf-8", "replace") for value in values]
    finite = (value if value is not None and math.isfinite(value) else None for value in values)
    if name in WHOLE:
        return [int(value) if value is not None and abs(value) < 2**63 else None for value in finite]
    return [None if value is None else float(value) for value in finite]
