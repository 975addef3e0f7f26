"""Indexing: of each finished thousand of shards the names, and the pictures' fingerprints and sizes."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import PRINTS
from t2i_shards.pipeline.dataset.name_index import (
    FOLDER,
    Piece,
    index_names,
    list_indices,
    list_pieces,
    read_names,
)
from t2i_shards.pipeline.dataset.roll_up import LEAST, read_receipts
from t2i_shards.pipeline.dataset.sizes import SIZES
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.stage import Stage, StageResult

log = logging.getLogger(__name__)

TABLES = PRINTS, SIZES
BEFORE = re.compile(r"(names|fingerprints)-\d{6,}-\d{6,}\.[0-9a-f]{64}\.(\d+-of-\d+\.)?parquet")
"""Files of the versions before the first that had a number."""


@dataclass
class IndexNames(Stage):
    """Stage: number n of `pieces` -> its index, its fingerprints and its sizes.

    None is made where a plan, or what became of it, is damaged.
    """

    dataset: Dataset
    pieces: Sequence[Piece]

    def __call__(self, shard: int) -> StageResult:
        piece = self.pieces[shard]
        try:
            images = read_receipts(self.dataset.store, IMAGES, piece.shards, self.dataset.roll_ups(IMAGES))
            index_names(self.dataset, piece, images)
            for tables in TABLES:
                tables.write(self.dataset, piece)
        except DamagedShard as error:
            log.warning("no index is made of shards %s to %s: %s", piece.shards[0], piece.shards[-1], error)
        return StageResult()


def plan_index(dataset: Dataset, images: ReceiptTable) -> IndexNames:
    """The stage for the pieces that lack their index or one of TABLES. Those of earlier states or versions go.

    images: the receipts that are there.
    """
    if len(dataset.shards) < LEAST:
        return IndexNames(dataset, [])
    pieces, indices = list(list_pieces(dataset, images)), list_indices(dataset.store)
    paths = [(piece, path) for piece, index in indices.items() for path in index.paths.values()]
    there = [tables.list(dataset.store) for tables in TABLES]
    for found in there:
        paths += found.items()
    known = {piece.shards for piece in pieces}
    old = [path for piece, path in paths if piece not in pieces and piece.shards in known]
    names = filter(BEFORE.fullmatch, dataset.store.names_from(FOLDER, ("names-", "fingerprints-")))
    dataset.store.discard_all([*old, *(f"{FOLDER}/{name}" for name in names)])
    whole = {piece for piece, index in indices.items() if index.whole}.intersection(*there)
    return IndexNames(dataset, [piece for piece in pieces if piece not in whole])


def verify_index(dataset: Dataset) -> list[str]:
    """A line for each file of the index, and of TABLES, that is damaged."""
    store = dataset.store
    reads: list[Callable[[], Any]] = [
        partial(read_names, store, path) for index in list_indices(store).values() for path in index.paths.values()
    ]
    reads += [partial(deque, of.read(store, piece), 0) for of in TABLES for piece in of.list(store)]
    lines = []
    for read in reads:
        try:
            read()
        except DamagedShard as error:
            lines.append(f"{error}; delete it, and run ingest again")
    return lines
