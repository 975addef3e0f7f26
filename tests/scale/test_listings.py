"""How many listings it takes ingest and extract to tell what is left of 10,000 shards in a bucket. Counted.

At their end they list the names of all, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from t2i_shards.extractors.color import Color
from t2i_shards.jobs import ingest_flow
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.description import Description
from t2i_shards.pipeline.dataset.done import name_ranges
from t2i_shards.pipeline.dataset.plan import end_segment, write_shards
from t2i_shards.pipeline.dataset.roll_up import THOUSAND, RollUp, write_roll_up
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.receipt import shard_name, to_json
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.scenes import ScenesSource
from tests.scale.synthetic import Put, count, counted_s3, make_receipt, put_in_moto, tabulate_receipts

SHARDS, ROLLED_UP, LEFT = 10_000, 9_900, 3
LAST_LOOK = len(name_ranges(SHARDS))
"""Listings of all names of receipts; in the last thousand there are tars, and one or two more."""
ROOT = "s3://listings/root"
HERE = EngineOptions("local", workers=1)

pytestmark = pytest.mark.usefixtures("in_this_process")


def put_column(put: Put, column: str, names: tuple[str, ...]) -> None:
    """All but the last LEFT; before the last thousand the names of receipts alone."""
    for shard in range(SHARDS - LEFT):
        for name in names if shard >= SHARDS - THOUSAND else ("json",):
            alone = shard >= ROLLED_UP and name == "json"
            data = make_receipt(SHARDS, column, shard).encode() if alone else b""
            put(f"{column}/{shard_name(shard)}.{name}", data)


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[str]]:
    """The requests of a server with a dataset of scenes whose last shards are left, in images and in color."""
    with counted_s3() as counts:
        put = put_in_moto("listings")
        source, geometry, store = ScenesSource(SHARDS), Geometry(64), open_store(ROOT)
        last = (row for row in source.rows(Counter()) if int(row.key) >= SHARDS - LEFT)
        digests, _ = write_shards(store, last, 1, SHARDS - LEFT)
        plan = end_segment(store, 0, ["0" * 64] * (SHARDS - LEFT) + digests, SHARDS)
        description = Description(source.describe(), geometry.record(), 1, SHARDS, SHARDS, plan.plan)
        put("dataset.json", description.encode())
        put("color/column.json", to_json(Color("default", None).recipe()))
        put_column(put, IMAGES, ("json", "tar", "rows.parquet"))
        put_column(put, "color", ("json", "tar"))
        for first in range(0, ROLLED_UP, THOUSAND):
            write_roll_up(store, tabulate_receipts(SHARDS, IMAGES, range(first, min(first + THOUSAND, ROLLED_UP))))
        for first in range(0, SHARDS - THOUSAND, THOUSAND):  # only their names are read
            put(RollUp(first, first + THOUSAND - 1, "0" * 64, "color").path, b"")
        yield counts


def test_extract_lists_what_has_no_roll_up(counts: Counter[str]) -> None:
    command, summaries = ExtractCommand(ROOT, ("color",), device="cpu", engine=HERE), list[Summary]()
    asked = count(counts, lambda: summaries.append(command.run()))
    assert asked["LIST"] <= 10 + LAST_LOOK + 1
    # They were tried, and only they: they have no pictures.
    assert summaries[0].problems[0].startswith(f"shard {SHARDS - LEFT:06d} set aside")
    assert len(summaries[0].problems) == LEFT


def test_ingest_lists_what_has_no_roll_up(counts: Counter[str], caplog: pytest.LogCaptureFixture) -> None:
    filled = []
    options = IngestOptions(ROOT, 1)
    asked = count(
        counts, lambda: filled.append(ingest_flow._fill(ScenesSource(SHARDS), Geometry(64), options, HERE, {}))
    )
    assert asked["LIST"] <= 10 + LAST_LOOK + 2
    assert [one.summary.record["made"] for one in filled if one.whole] == [LEFT]
    assert [one.last for one in filled[0].dataset.roll_ups(IMAGES)][-2:] == [ROLLED_UP - 1, SHARDS - 1]
    assert caplog.text == ""
