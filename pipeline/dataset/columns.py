"""The receipts of a complete column."""

from __future__ import annotations

from collections.abc import Mapping

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name


def whole_column(dataset: Dataset, name: str, shards: range | None = None) -> Mapping[int, Receipt]:
    """The receipts of a column, by shard: all `shards` are there, those of the dataset when None.

    Raises RequestError, DamagedShard.
    """
    shards = dataset.shards if shards is None else shards
    recipe = dataset.recipe_digest(name)
    receipts = {shard: receipt for shard, receipt in dataset.receipts(name).items() if shard in shards}
    missing = [shard for shard in shards if shard not in receipts]
    if missing:
        raise RequestError(
            f"{name} lacks {len(missing)} of {len(shards)} shards, the first {shard_name(missing[0])}; "
            f"run {'ingest' if name == IMAGES else 'extract'} again to continue"
        )
    for receipt in receipts.values():
        if receipt.recipe != recipe:
            raise DamagedShard(
                f"{name}/{shard_name(receipt.shard)} was made with another recipe than its column's"
            )
    return receipts
