"""A store whose folders of shards are divided, for places that take only so many files in one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from t2i_shards.pipeline.shards.store import Store

NUMBERED = re.compile(r"([^/]+)/(\d{6,18})(\..+)")
DIVISION = re.compile(r"\d{3,18}")


def spread_path(path: str, shards: int) -> str:
    """images/002500.tar -> images/002/002500.tar, with 1,000 `shards` in a folder; other paths stay the same."""
    if not (found := NUMBERED.fullmatch(path)):
        return path
    folder, number, _ = found.groups()
    return f"{folder}/{int(number) // shards:03d}/{path.removeprefix(f'{folder}/')}"


class SpreadStore:
    """A `Store` in which images/002500.tar is kept as images/002/002500.tar, so with each file that has a number.

    shards: numbers in a folder. Listings and paths are those of a store that is not divided.
    """

    def __init__(self, store: Store, shards: int) -> None:
        self.root, self.store, self.shards = store.root, store, shards

    def load(self, path: str) -> memoryview:
        return self.store.load(spread_path(path, self.shards))

    def open(self, path: str) -> BinaryIO:
        return self.store.open(spread_path(path, self.shards))

    def names(self, folder: str) -> list[str]:
        names = self.store.names(folder)
        found = {name for name in names if not _is_division(folder, name)}
        for division in self._divisions(folder, names):
            found.update(self.store.names(division))
        return sorted(found)

    def names_from(self, folder: str, prefixes: Sequence[str]) -> list[str]:
        return [name for name in self.names(folder) if name.startswith(tuple(prefixes))]

    def sizes(self, folder: str) -> dict[str, int]:
        sizes = self.store.sizes(folder)
        for division in self._divisions(folder, self.store.names(folder)):
            sizes |= self.store.sizes(division)
        return sizes

    def _divisions(self, folder: str, names: list[str]) -> Iterator[str]:
        return (f"{folder}/{name}" for name in names if _is_division(folder, name))

    def create(self, path: str, source: Path) -> bool:
        return self.store.create(spread_path(path, self.shards), source)

    def create_bytes(self, path: str, data: bytes) -> bool:
        return self.store.create_bytes(spread_path(path, self.shards), data)

    def replace(self, path: str, source: Path) -> None:
        self.store.replace(spread_path(path, self.shards), source)

    def replace_bytes(self, path: str, data: bytes) -> None:
        self.store.replace_bytes(spread_path(path, self.shards), data)

    def discard(self, path: str) -> None:
        self.store.discard(spread_path(path, self.shards))

    def discard_all(self, paths: Sequence[str]) -> None:
        self.store.discard_all([spread_path(path, self.shards) for path in paths])

    def scratch(self) -> AbstractContextManager[Any]:
        scratch: AbstractContextManager[Any] = self.store.scratch()
        return scratch

    def sweep(self) -> None:
        self.store.sweep()


def _is_division(folder: str, name: str) -> bool:
    return folder != "" and "/" not in folder and DIVISION.fullmatch(name) is not None
