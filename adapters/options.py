"""Choices that several requests share."""

from __future__ import annotations

from typing import Literal

AdapterName = Literal["base", "small", "tiny", "xl"]

Precision = Literal["fp32", "bf16", "fp16"]

CELL = 64
"""Pictures, and so crops, are cut to multiples of this many pixels."""
