"""Extractors ready to run, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

from extractors.base import Extractor
from extractors.registry import UnknownCondition, make_extractor
from extractors.weights.file import WeightsDamaged, WeightsUnavailable
from pipeline.errors import RequestError


def load_extractor(condition: str, variant: str, weights: Path | None, device: str) -> Extractor:
    """Ready on the device. Raises RequestError."""
    try:
        extractor = make_extractor(condition, variant, weights)
        extractor.load(device)
    except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
        raise RequestError(str(error)) from None
    return extractor
