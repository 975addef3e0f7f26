"""What a row finds: errors with intervals, also as a share of text alone's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.registry import format_of

if TYPE_CHECKING:
    from t2i_shards.adapters.evaluation.interval import Counts

Bounds = tuple[float, float, float]
"""Value, low and high."""


@dataclass(frozen=True)
class Finding:
    """what: how the pictures were made. error: of the condition. share: of text alone's error, where it says
    something. more: other numbers, by name."""

    what: str
    condition: str
    error: Bounds | None
    share: Bounds | None = None
    more: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "what": self.what,
            "condition": self.condition,
            "error": self.error and list(self.error),
            "share": self.share and list(self.share),
            "more": dict(self.more),
        }


def find(
    what: str,
    condition: str,
    counts: Counts,
    alone: Counts | None = None,
    more: Mapping[str, float] | None = None,
) -> Finding:
    """alone: of text alone, on the same scenes."""
    error, drawn = _draw_error(condition, counts)
    share = None
    if alone is not None:
        other, others = _draw_error(condition, alone)
        share = _bound(error / other if other else np.nan, drawn / np.where(others == 0, np.nan, others))
    return Finding(what, condition, _bound(error, drawn), share, more or {})


def _draw_error(condition: str, counts: Counts) -> tuple[float, np.ndarray]:
    """1 - F1, AbsRel, 1 - PCK, 1 - mIoU or the colour error: its value, and that of each draw of the scenes."""
    fidelity = format_of(condition).fidelity
    assert fidelity is not None
    measure = fidelity.measures[0]
    value, drawn = counts.values().get(measure.name, np.nan), counts.draw_values(measure.name)
    return (1 - value, 1 - drawn) if measure.better == "higher" else (value, drawn)


def _bound(value: float, drawn: np.ndarray) -> Bounds | None:
    if not np.isfinite(value) or not np.isfinite(drawn).any():
        return None
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(value), float(low), float(high)
