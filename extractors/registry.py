"""The conditions there are and who makes them.

A new condition or variant is one file in this package, one line here and one test; the contract suite
(tests/contract/test_extractors.py) then runs on it by itself. A class is imported only when it is asked for,
and is called with the variant's name and the folder given by --weights.
"""

from importlib import import_module
from pathlib import Path
from typing import cast

from extractors.base import Extractor, Format
from extractors.maps.formats import FORMATS
from extractors.weights.file import WeightFile

EXTRACTORS: dict[str, dict[str, str]] = {
    "sketch": {"default": "extractors.sketch:Sketch", "mini": "extractors.sketch:Sketch"},
    "depth": {
        "default": "extractors.depth:Depth",
        "depth-anything-v2-small": "extractors.depth:Depth",
        "mini": "extractors.depth:Depth",
    },
    "keypose": {
        "default": "extractors.keypose:Keypose",
        "hrnet": "extractors.keypose:Keypose",
        "rtmpose": "extractors.keypose:Keypose",
        "mini": "extractors.keypose:Keypose",
    },
    "seg": {"default": "extractors.segmentation:Segmentation", "mini": "extractors.segmentation:Segmentation"},
    "color": {"default": "extractors.color:Color", "mini": "extractors.color:Color"},
    "canny": {
        "default": "extractors.canny:Canny",
        "random": "extractors.canny:Canny",
        "mini": "extractors.canny:Canny",
    },
    "latents": {
        "default": "extractors.latents:Latents",
        "sdxl": "extractors.latents:Latents",
        "folder": "extractors.latents:Latents",
        "mini": "extractors.latents:Latents",
    },
}
"""condition -> variant -> "module:Class"."""


class UnknownCondition(ValueError):
    """No such condition, or no such variant of it; one line that lists those there are."""


def make_extractor(condition: str, variant: str = "default", weights: Path | None = None) -> Extractor:
    """The extractor, not yet loaded. `weights` is the folder of --weights. Raises UnknownCondition."""
    try:
        module, name = EXTRACTORS[condition][variant].split(":")
    except KeyError:
        known = ", ".join(f"{c} ({' | '.join(variants)})" for c, variants in EXTRACTORS.items())
        raise UnknownCondition(
            f"no extractor makes {condition!r} in variant {variant!r}; there are {known}"
        ) from None
    return cast(Extractor, getattr(import_module(module), name)(variant, weights))


def weight_files(condition: str, variant: str) -> tuple[WeightFile, ...]:
    """The files that this extractor needs, which it tells if it needs any. Raises UnknownCondition."""
    return tuple(getattr(make_extractor(condition, variant), "weight_files", ()))


def format_of(condition: str) -> Format:
    """How maps of this condition are stored and drawn, whoever makes them. Raises UnknownCondition."""
    if condition not in FORMATS:
        raise UnknownCondition(f"no condition is called {condition!r}; there are {', '.join(FORMATS)}")
    return FORMATS[condition]


def conditions() -> tuple[str, ...]:
    """What an adapter can be trained to obey."""
    return tuple(name for name, form in FORMATS.items() if form.is_condition)
