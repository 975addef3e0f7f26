"""A store that looks as if it were written to, and is not: for --dry-run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.object_store import ObjectStore

RealStore: TypeAlias = FolderStore | ObjectStore


class DryStore:
    """A `Store` that reads `store`; what is created goes to a folder of its own, and what is discarded stays."""

    def __init__(self, store: RealStore, folder: Path) -> None:
        self.root, self._store, self._new = store.root, store, FolderStore(folder)
        self._gone: set[str] = set()

    def load(self, path: str) -> memoryview:
        return self._holder(path).load(path)

    def open(self, path: str) -> BinaryIO:
        return self._holder(path).open(path)

    def names(self, folder: str) -> list[str]:
        old = {name for name in self._store.names(folder) if _join(folder, name) not in self._gone}
        return sorted(old.union(self._new.names(folder)))

    def names_from(self, folder: str, prefixes: Sequence[str]) -> list[str]:
        old = {name for name in self._store.names_from(folder, prefixes) if _join(folder, name) not in self._gone}
        return sorted(old.union(self._new.names_from(folder, prefixes)))

    def sizes(self, folder: str) -> dict[str, int]:
        old = {n: size for n, size in self._store.sizes(folder).items() if _join(folder, n) not in self._gone}
        return old | self._new.sizes(folder)

    def create(self, path: str, source: Path) -> bool:
        return not self._is_old(path) and self._new.create(path, source)

    def create_bytes(self, path: str, data: bytes) -> bool:
        return not self._is_old(path) and self._new.create_bytes(path, data)

    def replace(self, path: str, source: Path) -> None:
        self.discard(path)
        self._new.create(path, source)

    def replace_bytes(self, path: str, data: bytes) -> None:
        self.discard(path)
        self._new.create_bytes(path, data)

    def discard(self, path: str) -> None:
        self._gone.add(path)
        self._new.discard(path)

    def discard_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.discard(path)

    def scratch(self) -> Any:
        return self._new.scratch()

    def sweep(self) -> None:
        """Nothing: what other commands left is theirs."""

    def _is_old(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return path not in self._gone and name in self._store.names_from(folder, [name])

    def _holder(self, path: str) -> RealStore:
        folder, _, name = path.rpartition("/")
        if name in self._new.names(folder):
            return self._new
        if path in self._gone:
            raise FileNotFoundError(path)
        return self._store


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
