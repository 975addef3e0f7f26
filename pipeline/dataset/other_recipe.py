"""Shards of another recipe than their column has: one of them is foreign, or column.json was altered."""

from __future__ import annotations

from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable


def find_altered_recipe(receipts: ReceiptTable, recipe: str, path: str) -> str | None:
    """A line where all shards are of another recipe than the one in the file `path`, whose digest is `recipe`."""
    if not len(receipts) or len(receipts.find_other_recipe(recipe)) < len(receipts):
        return None
    return tell_damage(path, "its shards were made with another recipe")


def find_other_recipe(receipts: ReceiptTable, recipe: str, path: str) -> str | None:
    """A line for the file where all shards are of another recipe, else for the first shard that is."""
    if altered := find_altered_recipe(receipts, recipe, path):
        return altered
    for shard in receipts.find_other_recipe(recipe)[:1]:
        name = f"{receipts.column}/{shard_name(shard)}"
        return (
            f"{name} was made with another recipe than its column's; delete {name}.tar and {name}.json, and run "
            "the command that made the column again"
        )
    return None
