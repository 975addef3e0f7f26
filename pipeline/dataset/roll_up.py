"""Roll-ups: the receipts of a thousand shards of a column in one file, so that one request reads all of them.

The receipts stay the truth: a roll-up is made of them, and can be deleted at any time. It is named after the range
of its shards and the sha256 of its bytes, so that a listing of names says what is in all of them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

from t2i_shards.extractors.records import BadRecord
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.receipt_table import (
    NEVER_NULL,
    STORED,
    ReceiptTable,
    check_rows,
    from_stored,
    join_tables,
    tabulate,
    to_stored,
)
from t2i_shards.pipeline.shards.store import AT_ONCE, Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table

log = logging.getLogger(__name__)

THOUSAND = 1000
"""A roll-up has the receipts of shards n * THOUSAND to (n + 1) * THOUSAND - 1, or at the column's end of some."""
LEAST = 100
"""A column with fewer shards needs none."""
PREFIX = "shards-"
NAME = re.compile(PREFIX + r"(\d{6,})-(\d{6,})\.([0-9a-f]{64})\.parquet")


@dataclass(frozen=True, order=True)
class RollUp:
    """A file that is there. first, last: its shards. sha256: of its bytes."""

    first: int
    last: int
    sha256: str
    column: str

    @property
    def shards(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def path(self) -> str:
        """sketch/rollups/shards-000000-000999.1a2b….parquet"""
        name = f"{PREFIX}{shard_name(self.first)}-{shard_name(self.last)}.{self.sha256}.parquet"
        return f"{folder(self.column)}/{name}"


def folder(column: str) -> str:
    """sketch/rollups: dropping the column drops them too, and no column can have the name."""
    return f"{column}/rollups"


def list_roll_ups(store: Store, column: str) -> list[RollUp]:
    """Those of a column, in the order of their shards; of several for the same shards, the first."""
    matches = (NAME.fullmatch(name) for name in store.names_from(folder(column), (PREFIX,)))
    every = sorted(RollUp(int(m[1]), int(m[2]), m[3], column) for m in matches if m)
    found: list[RollUp] = []
    for one in every:
        if one.first <= one.last < one.first - one.first % THOUSAND + THOUSAND and (
            not found or one.first > found[-1].last
        ):
            found.append(one)
    return found


def read_roll_up(store: Store, roll_up: RollUp) -> ReceiptTable:
    """The receipts in it. Raises DamagedShard when it is gone, damaged or not what its name says."""
    try:
        data = store.load(roll_up.path)
    except FileNotFoundError:
        raise DamagedShard(f"{roll_up.path}: gone") from None
    if hashlib.sha256(data).hexdigest() != roll_up.sha256:
        raise DamagedShard(f"{roll_up.path}: its bytes are not those of its name")
    table = decode_table(data, roll_up.path, STORED, whole=NEVER_NULL, more=True)
    try:
        return check_rows(roll_up.column, from_stored(table), roll_up.shards)
    except BadRecord as error:
        raise DamagedShard(f"{roll_up.path}: {error}") from None


def write_roll_up(store: Store, receipts: ReceiptTable) -> RollUp:
    """Make the roll-up of these receipts, whose shards are a range."""
    data = encode_table(to_stored(receipts).combine_chunks())
    shards = receipts.shards.tolist()
    roll_up = RollUp(shards[0], shards[-1], hashlib.sha256(data).hexdigest(), receipts.column)
    store.create_bytes(roll_up.path, data)
    return roll_up


def read_receipts(
    store: Store,
    column: str,
    shards: Sequence[int],
    roll_ups: Iterable[RollUp] = (),
    at_once: int = AT_ONCE,
    damaged: list[str] | None = None,
    ignored: list[RollUp] | None = None,
) -> ReceiptTable:
    """The receipts of these shards, which ascend: from the roll-ups, and one by one where none has them.

    A roll-up that cannot be read is named in a warning and ignored. A shard without a receipt is left out.
    at_once: files that are read at once. damaged: as `Dataset.receipts` has it. ignored: gets those roll-ups.
    """

    def read(shard: int) -> Receipt | DamagedShard | None:
        try:
            return load_receipt(store, column, shard)
        except DamagedShard as error:
            return error

    wanted = set(shards)
    used = [one for one in roll_ups if not wanted.isdisjoint(one.shards)]
    with ThreadPoolExecutor(at_once) as threads:
        tried = threads.map(lambda one: _try(store, one, ignored), used)
        tables = [table for table in tried if table is not None]
        single = sorted(wanted.difference(*(table.shards.tolist() for table in tables)))
        parts = [_only(table, wanted) for table in tables]
        # A thousand at a time: not all receipts of a large column are in memory as objects.
        for start in range(0, len(single), THOUSAND):
            found = list(threads.map(read, single[start : start + THOUSAND]))
            errors = [error for error in found if isinstance(error, DamagedShard)]
            if damaged is not None:
                damaged.extend(map(str, errors))
            elif errors:
                raise errors[0]
            parts.append(tabulate(column, [receipt for receipt in found if isinstance(receipt, Receipt)]))
    return join_tables(column, parts)


def _try(store: Store, roll_up: RollUp, ignored: list[RollUp] | None) -> ReceiptTable | None:
    try:
        return read_roll_up(store, roll_up)
    except DamagedShard as error:
        log.warning("a roll-up is ignored: %s", error)
        if ignored is not None:
            ignored.append(roll_up)
        return None


def _only(table: ReceiptTable, wanted: set[int]) -> ReceiptTable:
    """Of the wanted shards; a roll-up is used for a range of them."""
    kept = [shard for shard in table.shards.tolist() if shard in wanted]
    return table.within(kept[0], kept[-1] + 1) if kept else table.within(0, 0)


def choose_listed(roll_ups: Iterable[RollUp], done: AbstractSet[int], shards: range) -> list[RollUp]:
    """Those whose shards have a receipt, of all that are in `shards`. The others are named in a warning."""
    chosen = []
    for one in roll_ups:
        gone = [shard for shard in one.shards if shard in shards and shard not in done]
        if gone:
            name = shard_name(gone[0])
            log.warning("a roll-up is ignored: %s: %s/%s has no receipt", one.path, one.column, name)
        else:
            chosen.append(one)
    return chosen


def find_ranges(shards: range, left: Iterable[int], roll_ups: Iterable[RollUp]) -> list[range]:
    """The ranges of which a roll-up should be made: whole thousands, and the rest where nothing is left to do.

    shards: of the dataset. left: those without a receipt.
    """
    if len(shards) < LEAST:
        return []
    left, covered = set(left), set(chain.from_iterable(one.shards for one in roll_ups))
    found = []
    for first in range(0, shards.stop, THOUSAND):
        thousand = range(first, min(first + THOUSAND, shards.stop))
        if (len(thousand) < THOUSAND and left) or not left.isdisjoint(thousand):
            continue
        rest = [shard for shard in thousand if shard not in covered]
        if rest and rest[-1] - rest[0] == len(rest) - 1:
            found.append(range(rest[0], rest[-1] + 1))
    return found
