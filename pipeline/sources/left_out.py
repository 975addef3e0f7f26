"""What a source leaves out of the plan: counted by reason and, where it is a file or a sample, named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

AT_ONCE = 100_000
"""Names that are held in memory; there may be as many as there are files."""


class Named(NamedTuple):
    """location: as the plan would have it: below the folder, or in its tar."""

    reason: str
    location: str


Save: TypeAlias = Callable[[Sequence[Named]], None]


class LeftOut(Counter[str]):
    """reason -> how many were left out on purpose; and note -> how many rows were changed.

    What has a name is told to `name`. save: takes the names, at most AT_ONCE each time; without it there are only
    counts.
    """

    def __init__(self, save: Save | None = None) -> None:
        super().__init__()
        self._save = save
        self._waiting: list[Named] = []

    def name(self, reason: str, location: str) -> None:
        """Count one under this reason, and remember which it was."""
        self[reason] += 1
        self.keep(reason, location)

    def keep(self, reason: str, location: str) -> None:
        """Remember one that is counted already."""
        if self._save is None:
            return
        # A name that is not UTF-8 has halves of surrogate pairs, which no table can hold.
        self._waiting.append(Named(reason, location.encode("utf-8", "backslashreplace").decode()))
        if len(self._waiting) == AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand over the names that wait."""
        if self._save and self._waiting:
            self._save(self._waiting)
        self._waiting = []
