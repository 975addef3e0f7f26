"""Choices that several requests share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import tyro

from t2i_shards.extractors.registry import conditions
from t2i_shards.pipeline.errors import RequestError

T = TypeVar("T")
Unnamed = Annotated[T, tyro.conf.arg(name="")]
"""Options that help lists among those of the command, without a group of their own."""
Root = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ROOT")]
Roots = Annotated[
    tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="ROOT", help_behavior_hint="(one or more)")
]
"""Datasets, as positional arguments."""

AdapterName = Literal["base", "small", "tiny", "xl"]

Family = Literal["sd", "sdxl"]
"""Of bases: Stable Diffusion 1.x and 2.x, and SDXL."""

Precision = Literal["fp32", "bf16", "fp16"]

SamplerName = Literal["ddim", "dpm++", "euler"]
"""How predictions turn noise into a picture: DDIM, DPM-Solver++ (second order, multistep), Euler."""


def check_condition(name: str) -> None:
    """RequestError unless an adapter can be trained to follow it."""
    if name not in conditions():
        raise RequestError(f"--condition must be one of {', '.join(conditions())}, not {name}")


def check_above(options: object, bound: float, *names: str) -> None:
    """RequestError for an option of these names that is not above the bound."""
    for name in names:
        if getattr(options, name) <= bound:
            raise RequestError(f"{name_flag(name)} must be above {bound:g}, not {getattr(options, name)}")


def check_at_least(options: object, bound: float, *names: str) -> None:
    """RequestError for an option of these names that is given and below the bound."""
    rule = "must not be below 0" if bound == 0 else f"must be at least {bound:g}"
    for name in names:
        value = getattr(options, name)
        if value is not None and value < bound:
            raise RequestError(f"{name_flag(name)} {rule}, not {value}")


def name_flag(name: str) -> str:
    """The flag of an option: "micro_batch" -> "--micro-batch"."""
    return f"--{name.replace('_', '-')}"
