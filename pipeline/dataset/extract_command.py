"""The command that makes a column, for messages about one that is missing, not whole or damaged."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from t2i_shards.extractors.registry import formats


def extract_command(root: str, column: str, recipe: Mapping[str, Any] | None = None) -> str | None:
    """`t2i-shards extract` with its options, in backticks; None for a column that no extractor makes.

    recipe: of the column, where it was begun.
    """
    recipe = recipe or {}
    if "made_by" in recipe:
        return None
    names = (recipe.get("condition"), recipe.get("extractor"), column)
    condition = next((name for name in names if name in formats()), None)
    if condition is None:
        return None
    words = ["t2i-shards", "extract", root, "--conditions", condition]
    if (variant := recipe.get("variant")) not in (None, "default"):
        words += ["--variant", str(variant)]
    if recipe.get("compiled"):
        words.append("--compile")
    if condition != column:
        words += ["--as", column]
    return f"`{shlex.join(words)}`"
