"""The rows of the miniature, and which of them are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2i_shards.jobs.miniature.composition import COMPOSITION
from t2i_shards.jobs.miniature.controlnet import CONTROLNET
from t2i_shards.jobs.miniature.edit import EDIT
from t2i_shards.jobs.miniature.other_base import OTHER_BASE
from t2i_shards.jobs.miniature.row import Row
from t2i_shards.jobs.miniature.scales import ENCODER_SCALES
from t2i_shards.jobs.miniature.sizes import ADAPTER_SIZES
from t2i_shards.jobs.miniature.thirds import THIRDS
from t2i_shards.jobs.miniature.timesteps import TIMESTEPS
from t2i_shards.pipeline.errors import RequestError

FIRST = frozenset({1, 2, 3})
"""Rows that one evaluation of each condition makes, in `conditions.py`."""
FURTHER: tuple[Row, ...] = (
    COMPOSITION,
    OTHER_BASE,
    ADAPTER_SIZES,
    TIMESTEPS,
    ENCODER_SCALES,
    THIRDS,
    EDIT,
    CONTROLNET,
)
ALL = FIRST | {row.number for row in FURTHER}


def choose_rows(asked: Sequence[str]) -> frozenset[int]:
    """("1-3", "8") -> {1, 2, 3, 8}. Raises RequestError."""
    chosen: set[int] = set()
    for text in asked:
        match = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
        found = set(range(int(match[1]), int(match[2] or match[1]) + 1)) if match else set()
        if not found or not found <= ALL:
            raise RequestError(
                f"--rows must be numbers from {min(ALL)} to {max(ALL)} or ranges of them, not {text}"
            )
        chosen |= found
    if not chosen:
        raise RequestError("--rows must name at least one row")
    return frozenset(chosen)
