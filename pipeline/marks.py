"""Marks of options, by which --help chooses where they are shown; to be put around the type of a field."""

from __future__ import annotations

from enum import Enum, auto
from typing import Annotated, TypeVar

T = TypeVar("T")


class Mark(Enum):
    """COMMON: among the first. ADVANCED: after those. HIDDEN: not at all, for what is only accepted."""

    COMMON = auto()
    ADVANCED = auto()
    HIDDEN = auto()


Common = Annotated[T, Mark.COMMON]
"""Of a group, the options of which are otherwise advanced."""
Advanced = Annotated[T, Mark.ADVANCED]
"""Of a command itself, the options of which are otherwise common."""
Hidden = Annotated[T, Mark.HIDDEN]
