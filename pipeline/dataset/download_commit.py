"""Images that cannot be made twice: what a download returned is recorded before it is used.

A server may answer differently the next time, so a second attempt at a shard rarely gives the same bytes. Two
files let the work of an attempt that died be used:

- plan/000012.seen.parquet, written once: the sha256 of every picture that the first attempt got. Later attempts
  (after a crash, or to repair a shard) accept no other picture for these rows.
- drafts/000012.<sha256 of the tar>.parquet, written before the tar: its rows.parquet. A tar without a receipt is
  adopted with the rows of its own attempt, and only if it has the bytes that this attempt hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.outcomes import OK, count_drops, decode_rows, digest_rows, rows_path
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import Extra, commit
from t2i_shards.pipeline.shards.drafts import DRAFTS, PLAN, load_noted
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import digest_keys
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table, read_table
from t2i_shards.pipeline.shards.tar import read_samples

SEEN = pa.schema([("key", pa.string()), ("sha256", pa.string())])


def seen_path(shard: int) -> str:
    """plan/000012.seen.parquet"""
    return f"plan/{shard_name(shard)}.seen.parquet"


def read_seen(store: Store, shard: int) -> dict[str, str] | None:
    """key -> the sha256 of the first picture fetched for it; None before any attempt got so far."""
    try:
        table = read_table(store, seen_path(shard), SEEN, whole=SEEN.names)
    except FileNotFoundError:
        return None
    return dict(zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def write_seen(store: Store, shard: int, digests: Mapping[str, str]) -> bool:
    """Note the first digests; False when another attempt has done so before."""
    table = pa.table([list(digests), list(digests.values())], SEEN)
    return store.create_bytes(seen_path(shard), encode_table(table))


def draft_path(shard: int, sha256: str) -> str:
    """drafts/000012.81bc01….parquet"""
    return f"{DRAFTS}/{shard_name(shard)}.{sha256}.parquet"


def commit_attempt(store: Store, tar: Path, receipt: Receipt, extra: Extra) -> Receipt:
    """Commit an images shard of which another attempt may have left a tar. The receipt that counts.

    extra: rows.parquet alone.
    """
    store.create_bytes(draft_path(receipt.shard, receipt.sha256), extra[rows_path(receipt.shard)])
    return commit(store, tar, receipt, extra, _adopt)


def _adopt(store: Store, path: str, ours: Receipt, _: Extra) -> tuple[Receipt, Extra]:
    """The receipt and rows of the tar that is there, from its maker's draft."""
    noted = load_noted(store, path, partial(draft_path, ours.shard))
    rows = decode_rows(noted.note, noted.path)
    keys = [row["key"] for row in rows if row["status"] == OK]
    if [sample.key for sample in read_samples(noted.tar)] != keys:
        raise DamagedShard(f"{path}: its keys are not those of its draft; delete both")
    receipt = Receipt(
        column=IMAGES,
        shard=ours.shard,
        planned=len(rows),
        samples=len(keys),
        bytes=len(noted.tar),
        sha256=noted.sha256,
        keys=digest_keys(keys),
        recipe=ours.recipe,
        drops=count_drops(rows),
        rows=digest_rows(noted.note),
    )
    return receipt, {rows_path(ours.shard): noted.note}


def sweep_drafts(store: Store, done: set[int]) -> None:
    """Remove the drafts of shards that have a receipt, and of plans, which need them no more."""
    owners = ((name, name.split(".")[0]) for name in store.names(DRAFTS))
    store.discard_all(
        [
            f"{DRAFTS}/{name}"
            for name, of in owners
            if name.startswith(PLAN) or (of.isdecimal() and int(of) in done)
        ]
    )
