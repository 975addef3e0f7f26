"""torch.compile for extractors' networks: faster after the first call for each size, which takes about a minute.

Other kernels round otherwise, so a column made with compiled networks has another recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2i_shards.extractors.base import Extractor


def compile_networks(extractor: Extractor) -> list[str]:
    """Compile, in place, every network that is an attribute of the loaded extractor. Their names."""
    from torch import nn

    found = {name: value for name, value in vars(extractor).items() if isinstance(value, nn.Module)}
    for network in found.values():
        network.compile(dynamic=False)
    return list(found)


def compiled_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of the same extractor with its networks compiled; one without weights has none."""
    return {**recipe, "compiled": True} if recipe.get("weights") else dict(recipe)
