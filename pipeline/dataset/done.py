"""Which shards of a column are done: a listing of names, in parts where a store can list several at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.store import Store

RECEIPT_NAME = re.compile(r"(\d{6,})\.json")
SPLIT = 10
"""A dataset of fewer thousands of shards is listed in one go."""


def find_done(store: Store, column: str, prefixes: Sequence[str]) -> set[int]:
    """The shards with a receipt whose name begins with one of these; without prefixes all."""
    split = prefixes and not isinstance(store, FolderStore)  # a folder gives all its names at once
    names = store.names_from(column, prefixes) if split else store.names(column)
    return {int(match[1]) for name in names if (match := RECEIPT_NAME.fullmatch(name))}


def name_ranges(shards: int) -> list[str]:
    """Prefixes of all names of shards: one for each thousand of the first `shards`, and few for all others.

    None for a dataset that is listed in one go.
    """
    thousands = min(1000, -(-shards // 1000))
    if thousands < SPLIT:
        return []
    prefixes = [f"{thousand:03d}" for thousand in range(thousands)]
    while thousands % 10:
        prefixes.append(f"{thousands:03d}")
        thousands += 1
    while thousands // 10 % 10:
        prefixes.append(f"{thousands // 10:02d}")
        thousands += 10
    return prefixes + [str(hundreds) for hundreds in range(thousands // 100, 10)]
