"""The receipts of a complete column."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from t2i_shards.pipeline.dataset.aligned import check_current
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset, recipe_path
from t2i_shards.pipeline.dataset.extract_command import extract_command
from t2i_shards.pipeline.dataset.other_recipe import find_other_recipe
from t2i_shards.pipeline.dataset.roll_up import RollUp, read_receipts
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import Store

Read: TypeAlias = Callable[[Store, str, Sequence[int], Sequence[RollUp]], ReceiptTable]
"""As `read_receipts`."""

log = logging.getLogger(__name__)


def whole_column(
    dataset: Dataset,
    name: str,
    shards: range | None = None,
    *,
    images: ReceiptTable | None = None,
    read: Read = read_receipts,
) -> ReceiptTable:
    """The receipts of a column: all `shards` are there, those of the dataset when None.

    images: those of the pictures, from which the column must have been made. Where a roll-up says that it was not,
    or was made by another recipe, the roll-ups are ignored and the receipts themselves are asked. read: the
    reader.
    Raises RequestError, DamagedShard.
    """
    shards = dataset.shards if shards is None else shards
    recipe = dataset.recipe_digest(name)
    roll_ups = dataset.roll_ups(name)
    missing = [shard for shard in dataset.left([name], {name: roll_ups}) if shard in shards]
    receipts = read(dataset.store, name, () if missing else shards, roll_ups)
    problem = _find_problem(receipts, recipe, images)
    if roll_ups and problem:
        log.warning("the roll-ups of %s are ignored: %s", name, problem)
        receipts = read(dataset.store, name, () if missing else shards, ())
        problem = _find_problem(receipts, recipe, images)
    missing = missing or sorted(set(shards).difference(receipts.shards.tolist()))
    if missing:
        command = extract_command(dataset.store.root, name, dataset.recipe(name)) if name != IMAGES else None
        raise RequestError(
            f"{name} lacks {len(missing)} of {len(shards)} shards, the first {shard_name(missing[0])}; "
            f"run {command or 'ingest'} again to continue"
        )
    if problem:
        raise DamagedShard(problem)
    return receipts


def _find_problem(receipts: ReceiptTable, recipe: str, images: ReceiptTable | None) -> str | None:
    """What is wrong with the first shard that was made by another recipe, or from other pictures."""
    if other := find_other_recipe(receipts, recipe, recipe_path(receipts.column)):
        return other
    if images is None:
        return None
    for shard in receipts.find_other_input(images)[:1]:
        try:
            check_current(receipts[shard], images[shard])
        except DamagedShard as error:
            return str(error)
    return None
