"""Indexing: of each finished thousand of shards which names are in which, and the fingerprints of pictures."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import list_prints, read_prints, write_prints
from t2i_shards.pipeline.dataset.name_index import (
    FOLDER,
    Piece,
    index_names,
    list_indices,
    list_pieces,
    read_names,
)
from t2i_shards.pipeline.dataset.roll_up import LEAST, read_receipts
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.stage import Stage, StageResult

log = logging.getLogger(__name__)

BEFORE = re.compile(r"(names|fingerprints)-\d{6,}-\d{6,}\.[0-9a-f]{64}\.(\d+-of-\d+\.)?parquet")
"""Files of the versions before the first that had a number."""


@dataclass
class IndexNames(Stage):
    """Stage: number n of `pieces` -> its index and its fingerprints.

    None is made where a plan, or what became of it, is damaged.
    """

    dataset: Dataset
    pieces: Sequence[Piece]

    def __call__(self, shard: int) -> StageResult:
        piece = self.pieces[shard]
        try:
            images = read_receipts(self.dataset.store, IMAGES, piece.shards, self.dataset.roll_ups(IMAGES))
            index_names(self.dataset, piece, images)
            write_prints(self.dataset, piece)
        except DamagedShard as error:
            log.warning("no index is made of shards %s to %s: %s", piece.shards[0], piece.shards[-1], error)
        return StageResult()


def plan_index(dataset: Dataset, images: ReceiptTable) -> IndexNames:
    """The stage for the pieces that lack their index or fingerprints. Those of earlier states or versions go.

    images: the receipts that are there.
    """
    if len(dataset.shards) < LEAST:
        return IndexNames(dataset, [])
    pieces, indices, prints = (
        list(list_pieces(dataset, images)),
        list_indices(dataset.store),
        list_prints(dataset.store),
    )
    known = {piece.shards for piece in pieces}
    stale = [piece for piece in {**indices, **prints} if piece not in pieces and piece.shards in known]
    old = [path for piece in stale if piece in indices for path in indices[piece].paths.values()]
    old += [prints[piece] for piece in stale if piece in prints]
    names = filter(BEFORE.fullmatch, dataset.store.names_from(FOLDER, ("names-", "fingerprints-")))
    dataset.store.discard_all([*old, *(f"{FOLDER}/{name}" for name in names)])
    whole = {piece for piece, index in indices.items() if index.whole and piece in prints}
    return IndexNames(dataset, [piece for piece in pieces if piece not in whole])


def verify_index(dataset: Dataset) -> list[str]:
    """A line for each file of the index, and of fingerprints, that is damaged."""
    store = dataset.store
    reads: list[Callable[[], Any]] = [
        partial(read_names, store, path) for index in list_indices(store).values() for path in index.paths.values()
    ]
    reads += [partial(deque, read_prints(store, piece), 0) for piece in list_prints(store)]
    lines = []
    for read in reads:
        try:
            read()
        except DamagedShard as error:
            lines.append(f"{error}; delete it, and run ingest again")
    return lines
