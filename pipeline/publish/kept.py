"""The rows of a copy of the columns: only those that became samples are copied.

The others name pictures that were refused, that failed, or whose owners opted out; their addresses and captions
are not published. The tars stay as they are.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow.compute as pc

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.description import Description
from t2i_shards.pipeline.dataset.outcomes import OK, digest_rows, read_rows, rows_path
from t2i_shards.pipeline.dataset.plan import Segment, plan_path, read_plan_table
from t2i_shards.pipeline.dataset.provenance import without_paths
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.publish.plan import Plan
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.store import AT_ONCE
from t2i_shards.pipeline.shards.table import encode_table


def keep_samples(dataset: Dataset, shard: int) -> tuple[bytes, bytes]:
    """(plan, rows) of a shard, of its samples alone, as the bytes of their files. Raises DamagedShard."""
    receipt = load_receipt(dataset.store, IMAGES, shard)
    assert receipt is not None, "images were whole"
    rows, plan = read_rows(dataset.store, receipt), read_plan_table(dataset.store, shard)
    if plan["key"].to_pylist() != rows["key"].to_pylist():
        raise DamagedShard(f"{rows_path(shard)}: its keys are not those of {plan_path(shard)}")
    kept = pc.equal(rows["status"], OK)
    # What a writer noted about the table may reveal its rows.
    tables = (table.filter(kept).replace_schema_metadata(None) for table in (plan, rows))
    plan_data, rows_data = map(encode_table, tables)
    return plan_data, rows_data


def keep_receipt(receipt: Receipt, rows: bytes) -> Receipt:
    """The receipt of an images shard whose plan and `rows` have its samples alone."""
    return replace(receipt, planned=receipt.samples, drops={}, rows=digest_rows(rows))


def published_segments(plan: Plan) -> list[Segment]:
    """The dataset's segments as the copy has them. Reads plan and rows of every shard.

    A row that gave a sample when it was tried again is in no other plan of the copy, so it is new there.
    """
    if not plan.samples_only:
        return plan.dataset.segments
    with ThreadPoolExecutor(AT_ONCE) as threads:
        digests = list(threads.map(lambda shard: _digest_plan(plan.dataset, shard), plan.dataset.shards))
    samples = [plan.receipts[IMAGES][shard].samples for shard in plan.dataset.shards]
    return [
        replace(
            segment,
            samples=(kept := sum(samples[shard] for shard in segment.numbers)),
            new=kept if number else 0,
            plan=digest_json([digests[shard] for shard in segment.numbers]),
        )
        for number, segment in enumerate(plan.dataset.segments)
    ]


def published_description(plan: Plan, first: Segment) -> Description:
    """dataset.json as others see it. first: the first segment as the copy has it."""
    source = without_paths(dict(plan.dataset.description.source))
    return replace(
        plan.dataset.description, source=source, samples=first.samples, plan=first.plan, spread=plan.spread
    )


def _digest_plan(dataset: Dataset, shard: int) -> str:
    return hashlib.sha256(keep_samples(dataset, shard)[0]).hexdigest()
