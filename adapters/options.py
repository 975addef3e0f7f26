"""Choices that several requests share."""

from __future__ import annotations

from typing import Literal

from extractors.registry import conditions
from pipeline.errors import RequestError

AdapterName = Literal["base", "small", "tiny", "xl"]

Family = Literal["sd", "sdxl"]
"""Of bases: Stable Diffusion 1.x and 2.x, and SDXL."""

Precision = Literal["fp32", "bf16", "fp16"]


def check_condition(name: str) -> None:
    """RequestError unless an adapter can be trained to follow it."""
    if name not in conditions():
        raise RequestError(f"--condition must be one of {', '.join(conditions())}, not {name}")
