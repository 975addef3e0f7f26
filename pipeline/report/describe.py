"""How a report names a dataset's source, its geometry and the makers of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.dataset import IMAGES, Dataset

TITLES = {"scenes": "Scenes", "folder": "Folder of pictures", "coco": "COCO", "laion": "LAION-Aesthetics"}


def describe_source(source: Mapping[str, Any]) -> tuple[str, str]:
    """(title, the rest)"""
    rest = ", ".join(f"{name} {value}" for name, value in source.items() if name != "kind")
    kind = str(source.get("kind", "dataset"))
    return TITLES.get(kind, kind.capitalize()), rest


def describe_geometry(geometry: Mapping[str, Any]) -> str:
    shape = "square" if geometry.get("fit") == "square" else "short side, aspect kept"
    return f"{geometry.get('size')} px {shape}, JPEG {geometry.get('quality')}"


def describe_maker(dataset: Dataset, column: str) -> tuple[str, str]:
    """(made by, licence) from the recipe, whoever wrote it."""
    if column == IMAGES:
        return f"ingest {dataset.description.source.get('kind')}", ""
    recipe = dataset.recipe(column) or {}
    maker = str(recipe.get("extractor", recipe.get("made_by", "unknown")))
    parts = [f"{maker} {recipe.get('version', '')}".strip()]
    if "made_by" in recipe:
        return f"{parts[0]}, ground truth", str(recipe.get("licence", ""))
    parts += [str(recipe["variant"])] if recipe.get("variant") else []
    weights = recipe.get("weights") or {}
    parts += [str(weights["file"])] if weights.get("file") else []
    return ", ".join(parts), str(weights.get("licence", ""))
