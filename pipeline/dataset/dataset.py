"""A dataset on a store: what was planned, which columns there are, which of their shards are done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from t2i_shards.extractors.records import BadRecord, convert_record, decode_record
from t2i_shards.pipeline.dataset.description import Recipe, read_description
from t2i_shards.pipeline.dataset.done import find_done, name_ranges
from t2i_shards.pipeline.dataset.extract_command import extract_command
from t2i_shards.pipeline.dataset.other_recipe import find_altered_recipe
from t2i_shards.pipeline.dataset.plan import (
    Segment,
    add_supplement,
    read_plan,
    read_supplements,
)
from t2i_shards.pipeline.dataset.roll_up import (
    LEAST,
    THOUSAND,
    RollUp,
    choose_listed,
    list_roll_ups,
    read_receipts,
)
from t2i_shards.pipeline.errors import DamagedShard, RequestError, ShardNotReady
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, shard_name, to_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.spread_store import SpreadStore
from t2i_shards.pipeline.shards.store import AT_ONCE, Store, open_store
from t2i_shards.pipeline.sources.row import Row

COLUMN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
IMAGES = "images"
RESERVED = {"plan", "supplements", "drafts", "duplicates", "tombstones", IMAGES}


def recipe_path(column: str) -> str:
    """sketch/column.json; that of images is dataset.json."""
    return "dataset.json" if column == IMAGES else f"{column}/column.json"


class Dataset:
    """An open dataset. Raises RequestError when there is none, or dataset.json is not one we can read."""

    def __init__(self, store: Store) -> None:
        self.description = of = read_description(store)
        self.store: Store = store if of.spread is None else SpreadStore(store, of.spread)
        first = Segment(0, of.shards, of.samples, of.plan)
        self.segments = [first, *read_supplements(self.store)]
        if len(self.segments) > 1 and self.segments[1].first != of.shards:
            raise DamagedShard(f"supplements/000001.json: must begin with shard {of.shards}")

    @classmethod
    def open(cls, root: str) -> Dataset:
        return cls(open_store(root))

    @property
    def shards(self) -> range:
        return range(self.segments[-1].numbers.stop)

    @property
    def planned(self) -> int:
        """How many rows were planned, each counted once however often it was tried."""
        return self.description.samples + sum(segment.new for segment in self.segments)

    def supplement(self, segment: Segment) -> None:
        """Add shards to the dataset."""
        add_supplement(self.store, len(self.segments), segment)
        self.segments.append(segment)

    def plan(self, shard: int) -> list[Row]:
        """The rows that the shard was asked to hold."""
        return read_plan(self.store, shard)

    def columns(self) -> list[str]:
        """The names of the columns, images first."""
        folders = [n for n in self.store.names("") if COLUMN_NAME.fullmatch(n) and n not in RESERVED]
        # A folder without a recipe is no column, or a crash left it before the column was begun.
        return [IMAGES, *(n for n in folders if self.recipe(n) is not None)]

    def recipe(self, column: str) -> Mapping[str, Any] | None:
        """What column.json says, or None when no such column was begun."""
        path = f"{column}/column.json"
        try:
            record = decode_record(self.store.load(path), dict[str, Any])
            convert_record(record, Recipe)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except BadRecord as error:
            raise RequestError(tell_damage(f"{self.store.root}/{path}", str(error))) from None
        return record

    def recipe_digest(self, column: str) -> str:
        """The digest that every receipt of the column must carry."""
        if column == IMAGES:
            return self.description.recipe
        recipe = self.recipe(column)
        if recipe is None:
            raise self.no_column(column)
        return digest_json(recipe)

    def no_column(self, column: str) -> RequestError:
        """What to raise where a column is asked for that was not begun."""
        command = extract_command(self.store.root, column)
        way = f"; make it with {command}" if command else ""
        return RequestError(f"{self.store.root} has no column {column!r}; it has {', '.join(self.columns())}{way}")

    def claim(self, column: str, recipe: Mapping[str, Any]) -> str:
        """Begin or continue a column under this recipe. Its digest; RequestError when it has another recipe."""
        if not COLUMN_NAME.fullmatch(column) or column in RESERVED:
            taken = ", ".join(sorted(RESERVED))
            raise RequestError(f"a column's name must be [a-z0-9][a-z0-9_-]* and none of {taken}, not {column!r}")
        digest = digest_json(recipe)
        # Looked for first, so that what is finished can be asked for again where nothing may be written.
        if self.recipe(column) is None and self.store.create_bytes(recipe_path(column), to_json(recipe)):
            return digest
        begun = self.recipe_digest(column)
        if begun != digest:
            receipts, path = self.receipts(column, damaged=[]), f"{self.store.root}/{recipe_path(column)}"
            if receipts and not receipts.find_other_recipe(digest):
                raise RequestError(find_altered_recipe(receipts, begun, path))
            raise RequestError(
                f"{column} was made with recipe {begun[:8]}…, this one is {digest[:8]}…; "
                "write it as another column with --as"
            )
        return digest

    def done(self, column: str) -> set[int]:
        """The shards that have a receipt, by their names alone."""
        return find_done(self.store, column, name_ranges(self.shards.stop))

    def left(self, columns: Iterable[str], roll_ups: Mapping[str, Sequence[RollUp]] | None = None) -> list[int]:
        """The shards for which one of the columns has no receipt yet.

        roll_ups: of each column, which `done_by_roll_ups` believes. Without them all names are listed.
        """
        done = set(self.shards)
        for column in columns:
            done &= self.done(column) if roll_ups is None else self.done_by_roll_ups(column, roll_ups[column])
        return [shard for shard in self.shards if shard not in done]

    @property
    def believes_roll_ups(self) -> bool:
        """Whether shards in roll-ups are taken as done: not in a folder, which gives all its names at once."""
        return not isinstance(self.store, FolderStore)

    def done_by_roll_ups(self, column: str, roll_ups: Sequence[RollUp] | None = None) -> set[int]:
        """The same as `done`, but in object stores, which list a thousand names at a time, a shard in a roll-up is
        taken as done without looking for its receipt. roll_ups: those of the column, where they are known."""
        if not self.believes_roll_ups:
            return self.done(column)
        roll_ups = self.roll_ups(column) if roll_ups is None else roll_ups
        if not roll_ups and not name_ranges(self.shards.stop):
            return self.done(column)
        rolled_up = {shard for one in roll_ups for shard in one.shards}
        others = sorted({f"{shard // THOUSAND:03d}" for shard in self.shards if shard not in rolled_up})
        return rolled_up | (find_done(self.store, column, others) if others else set())

    def roll_ups(self, column: str) -> list[RollUp]:
        """Those of a column, in the order of their shards."""
        return list_roll_ups(self.store, column) if len(self.shards) >= LEAST else []

    def receipts(
        self,
        column: str,
        at_once: int = AT_ONCE,
        damaged: list[str] | None = None,
        done: AbstractSet[int] | None = None,
    ) -> ReceiptTable:
        """Every receipt of a column, by shard; so many files are read at once.

        damaged: gets a line for each receipt that cannot be read; without it, the first raises DamagedShard.
        done: the shards that have one, where they are known.
        """
        done = self.done(column) if done is None else done
        roll_ups = choose_listed(self.roll_ups(column), done, self.shards)
        return read_receipts(self.store, column, sorted(done), roll_ups, at_once, damaged)

    def load(self, column: str, shard: int, receipt: Receipt | None = None) -> list[Sample]:
        """The samples of a shard, none of which is given before all its bytes agree with its receipt.

        Raises DamagedShard, or ShardNotReady when there is no receipt.
        """
        receipt = receipt or load_receipt(self.store, column, shard)
        if receipt is None:
            raise ShardNotReady(f"{column}/{shard_name(shard)} has no receipt yet")
        return load_verified(self.store, receipt)
