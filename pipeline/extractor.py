"""Extractors ready to run, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.registry import UnknownCondition, make_extractor
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable
from t2i_shards.pipeline.errors import RequestError


def load_extractor(condition: str, variant: str, weights: Path | None, device: str) -> Extractor:
    """Ready on the device. Raises RequestError."""
    try:
        extractor = make_extractor(condition, variant, weights)
        extractor.load(device)
    except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
        raise RequestError(str(error)) from None
    return extractor
