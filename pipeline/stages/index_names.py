"""Indexing: of each finished thousand of shards, which names are in which of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.name_index import Piece, index_names, list_indices, list_pieces, read_names
from t2i_shards.pipeline.dataset.roll_up import LEAST, read_receipts
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.stage import StageResult

log = logging.getLogger(__name__)


@dataclass
class IndexNames:
    """Stage: number n of `pieces` -> its index. None is made where a plan, or what became of it, is damaged."""

    dataset: Dataset
    pieces: Sequence[Piece]
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, shard: int) -> StageResult:
        piece = self.pieces[shard]
        try:
            images = read_receipts(self.dataset.store, IMAGES, piece.shards, self.dataset.roll_ups(IMAGES))
            index_names(self.dataset, piece, images)
        except DamagedShard as error:
            log.warning("no index is made of shards %s to %s: %s", piece.shards[0], piece.shards[-1], error)
        return StageResult()


def plan_index(dataset: Dataset, images: ReceiptTable) -> IndexNames:
    """The stage for the pieces that have no index yet. Indices of earlier states are removed.

    images: the receipts that are there.
    """
    if len(dataset.shards) < LEAST:
        return IndexNames(dataset, [])
    pieces, indices = list(list_pieces(dataset, images)), list_indices(dataset.store)
    known = {piece.shards for piece in pieces}
    stale = [index for piece, index in indices.items() if piece not in pieces and piece.shards in known]
    dataset.store.discard_all([path for index in stale for path in index.paths.values()])
    return IndexNames(dataset, [piece for piece in pieces if piece not in indices or not indices[piece].whole])


def verify_index(dataset: Dataset) -> list[str]:
    """A line for each file of the index that is damaged."""
    lines = []
    for index in list_indices(dataset.store).values():
        for path in index.paths.values():
            try:
                read_names(dataset.store, path)
            except DamagedShard as error:
                lines.append(f"{error}; delete it, and run ingest again")
    return lines
