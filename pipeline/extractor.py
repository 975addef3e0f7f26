"""Extractors ready to run, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.registry import EXTRACTORS, UnknownCondition, make_extractor
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError


def load_extractor(condition: str, variant: str, weights: Path | None, device: str) -> Extractor:
    """Ready on the device. Raises RequestError."""
    try:
        extractor = make_extractor(condition, variant, weights)
        extractor.load(device)
    except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
        raise RequestError(str(error)) from None
    return extractor


def choose_variant(condition: str, root: str, column: str | None) -> str:
    """The variant that the column's recipe names; `default` without a column, or for one made by another tool."""
    recipe = Dataset.open(root).recipe(column) if column is not None else None
    variant = str((recipe or {}).get("variant"))
    return variant if variant in EXTRACTORS[condition] else "default"
