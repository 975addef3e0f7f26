"""A table of receipts is the receipts it was made of, and its digest is that of their JSON."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from t2i_shards.extractors.records import BadRecord
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.receipt_table import (
    STORED,
    ReceiptTable,
    check_rows,
    digest_receipts,
    from_stored,
    join_tables,
    tabulate,
    to_stored,
    to_table,
)

FIRST = Receipt("sketch", 3, 5, 5, 100, "ab" * 32, "cd" * 32, "one", "ef" * 32)
RECEIPTS = {
    3: FIRST,
    4: replace(FIRST, shard=4, samples=3, drops={"a": 2}, dropped={"k": "é\n"}, recipe="two", seconds=0.1),
    9: replace(FIRST, shard=9, sha256="00" * 32, input=None, rows="12" * 32, bytes=2**40),
    1_000_000: replace(FIRST, shard=1_000_000, keys="34" * 32),
}


@pytest.fixture
def table() -> ReceiptTable:
    return tabulate("sketch", RECEIPTS.values())


def test_it_is_what_it_was_made_of(table: ReceiptTable) -> None:
    assert dict(table) == RECEIPTS == dict(pickle.loads(pickle.dumps(table)))  # noqa: S301
    assert list(table.receipts()) == list(RECEIPTS.values())
    assert [shard in table for shard in (3, np.int64(9), 5, -1, 10**9, "3")] == [True, True, *[False] * 4]
    with pytest.raises(KeyError):
        table[5]


def test_its_digest_is_that_of_the_json(table: ReceiptTable) -> None:
    for of in (RECEIPTS, {}, {3: FIRST}):
        expected = digest_json([[shard, receipt.sha256, receipt.keys] for shard, receipt in of.items()])
        assert tabulate("sketch", of.values()).digest == expected == digest_receipts(of)
    many = {shard: replace(FIRST, shard=shard) for shard in range(10_001)}  # more than are hashed at once
    assert tabulate("sketch", many.values()).digest == digest_receipts(many)


def test_parts_of_it(table: ReceiptTable) -> None:
    parts = [table.within(4, 10), table.within(0, 4), table.within(5, 9), table.within(10, 2 * 10**6)]
    assert [list(part) for part in parts] == [[4, 9], [3], [], [1_000_000]]
    assert dict(join_tables("sketch", parts)) == RECEIPTS
    assert parts[0].digest == digest_receipts({shard: RECEIPTS[shard] for shard in (4, 9)})


def test_what_does_not_belong_is_found(table: ReceiptTable) -> None:
    assert table.find_other_recipe("one") == [4]
    images = tabulate("images", [replace(FIRST, shard=shard, sha256="ef" * 32) for shard in (3, 4, 9)])
    assert table.find_other_input(images) == [9, 1_000_000]
    assert table.within(3, 5).find_other_input(images.within(3, 5)) == []
    assert table.find_other_input(images.within(0, 0)) == list(RECEIPTS)
    assert list(table.counts("drops")) == [(4, {"a": 2})]


def test_erasing_samples_changes_neither_the_digest_nor_what_was_made_of_them(table: ReceiptTable) -> None:
    erased = replace(FIRST, sha256="99" * 32, bytes=1, first=FIRST.sha256, erased=("k", "l"))
    after = tabulate("sketch", (RECEIPTS | {3: erased}).values())
    assert after[3] == erased
    assert after.digest == table.digest == digest_receipts(RECEIPTS | {3: erased})
    images = tabulate("images", [replace(erased, first="ef" * 32)])
    assert tabulate("sketch", [FIRST]).find_other_input(images) == []


def test_it_is_stored_as_before_unless_samples_were_erased(table: ReceiptTable) -> None:
    """So roll-ups keep their names, and those of earlier versions are read."""
    assert to_stored(table).column_names == STORED.names
    assert from_stored(to_stored(table)) == to_table(table)
    erased = tabulate("sketch", [replace(FIRST, first="99" * 32, erased=("k",))])
    assert from_stored(to_stored(erased)) == to_table(erased)
    wrong = to_stored(table).append_column("erased", pa.array([b"\xff"] * len(table), pa.binary()))
    with pytest.raises(BadRecord):
        check_rows("sketch", from_stored(wrong), range(3, 4))


def test_no_process_imports_pandas_for_it() -> None:
    """Which takes half a second and 40 MB, and pyarrow does for its own conversions."""
    script = (
        "import sys, tests.pipeline.shards.test_receipt_table as of\n"
        "table = of.tabulate('sketch', of.RECEIPTS.values())\n"
        "table.find_other_recipe('one'), table.find_other_input(table), table.digest, dict(table)\n"
        "of.join_tables('sketch', [table.within(9, 10), table.within(0, 9)])\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
