"""The conditions, and the extractors that make them.

A new condition or variant is one file in this package, one line here and one test; the contract suite
(tests/contract/test_extractors.py) then runs on it by itself. A class is imported only when it is asked for,
and is called with the variant's name and the folder given by --weights. Its `format` says all that is special
about the condition.
"""

from collections.abc import Container
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.format import Format
from t2i_shards.extractors.weights.file import WeightFile

EXTRACTORS: dict[str, dict[str, str]] = {
    "sketch": {"default": "t2i_shards.extractors.sketch:Sketch", "mini": "t2i_shards.extractors.sketch:Sketch"},
    "depth": {
        "default": "t2i_shards.extractors.depth:Depth",
        "depth-anything-v2-small": "t2i_shards.extractors.depth:Depth",
        "mini": "t2i_shards.extractors.depth:Depth",
    },
    "keypose": {
        "default": "t2i_shards.extractors.keypose:Keypose",
        "hrnet": "t2i_shards.extractors.keypose:Keypose",
        "rtmpose": "t2i_shards.extractors.keypose:Keypose",
        "mini": "t2i_shards.extractors.keypose:Keypose",
        "mini-simple": "t2i_shards.extractors.keypose:Keypose",
    },
    "seg": {
        "default": "t2i_shards.extractors.segmentation:Segmentation",
        "mini": "t2i_shards.extractors.segmentation:Segmentation",
        "mini-simple": "t2i_shards.extractors.segmentation:Segmentation",
    },
    "color": {"default": "t2i_shards.extractors.color:Color", "mini": "t2i_shards.extractors.color:Color"},
    "canny": {
        "default": "t2i_shards.extractors.canny:Canny",
        "random": "t2i_shards.extractors.canny:Canny",
        "mini": "t2i_shards.extractors.canny:Canny",
    },
    "latents": {
        "default": "t2i_shards.extractors.latents:Latents",
        "sdxl": "t2i_shards.extractors.latents:Latents",
        "folder": "t2i_shards.extractors.latents:Latents",
        "mini": "t2i_shards.extractors.latents:Latents",
    },
}
"""condition -> variant -> "module:Class"."""


class UnknownCondition(ValueError):
    """No such condition, or no such variant of it; one line that lists those there are."""


def make_extractor(condition: str, variant: str = "default", weights: Path | None = None) -> Extractor:
    """The extractor, not yet loaded. `weights` is the folder of --weights. Raises UnknownCondition."""
    variants = _variants_of(condition)
    if variant not in variants:
        raise UnknownCondition(f"{condition} has no variant {variant!r}; there are {', '.join(variants)}")
    return cast(Extractor, _import(variants[variant])(variant, weights))


def _variants_of(condition: str) -> dict[str, str]:
    if condition not in EXTRACTORS:
        raise UnknownCondition(f"no condition is called {condition!r}; there are {', '.join(EXTRACTORS)}")
    return EXTRACTORS[condition]


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def weight_files(condition: str, variant: str) -> tuple[WeightFile, ...]:
    """The files that this extractor needs, if it needs any. Raises UnknownCondition."""
    return tuple(getattr(make_extractor(condition, variant), "weight_files", ()))


def format_of(condition: str) -> Format:
    """What is special about a condition, the same for all its variants. Raises UnknownCondition."""
    path = next(iter(_variants_of(condition).values()))
    return cast(Format, _import(path).format)


def formats() -> dict[str, Format]:
    """The format of every condition, in the order of the list above."""
    return {condition: format_of(condition) for condition in EXTRACTORS}


def find_format(members: Container[str]) -> Format | None:
    """The format that reads one of these members: how a column is known that --as has renamed."""
    return next((form for form in formats().values() if form.members[0] in members), None)


def conditions() -> tuple[str, ...]:
    """What an adapter can be trained to follow."""
    return tuple(name for name, form in formats().items() if form.is_condition)
