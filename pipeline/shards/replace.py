"""Putting another tar in the place of a finished shard's: for erasing samples, and for nothing else.

A note with the new receipt is written first, then the tar is replaced, then the receipt. At every moment the tar
is whole and a receipt is there, so no other command takes the shard for one that is to be made; an attempt that
died between tar and receipt is finished by its note, which is named after the tar's sha256.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import receipt_path, tar_path, write_shard
from t2i_shards.pipeline.shards.drafts import DRAFTS, load_noted
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.store import Store


def note_path(column: str, shard: int, sha256: str) -> str:
    """drafts/sketch-000012.81bc01….json"""
    return f"{DRAFTS}/{column}-{shard_name(shard)}.{sha256}.json"


def find_notes(store: Store, column: str, shard: int | None = None) -> list[str]:
    """Paths of the notes that are there of a column's replacements, or of those of one shard."""
    number = r"\d{6,}" if shard is None else shard_name(shard)
    note = re.compile(rf"{re.escape(column)}-{number}\.[0-9a-f]{{64}}\.json")
    return [f"{DRAFTS}/{name}" for name in store.names_from(DRAFTS, (f"{column}-",)) if note.fullmatch(name)]


def replace_shard(store: Store, receipt: Receipt, samples: Iterable[Sample], erased: Collection[str]) -> Receipt:
    """Replace the tar of a receipt by one of these samples, which have its keys. The new receipt.

    erased: the keys of those that are blank now, in addition to those that were.
    """
    with store.scratch() as scratch:
        tar = scratch / f"{shard_name(receipt.shard)}.tar"
        _, size, sha256, keys = write_shard(samples, tar)
        if digest_keys(keys) != receipt.keys:
            raise OSError(f"{tar.name} must have the keys that it had, and has others")
        every = tuple(sorted({*receipt.erased, *erased}))
        new = replace(receipt, bytes=size, sha256=sha256, first=receipt.identity, erased=every)
        note = note_path(new.column, new.shard, new.sha256)
        store.create_bytes(note, new.encode())
        store.replace(tar_path(new.column, new.shard), tar)
        store.replace_bytes(receipt_path(new.column, new.shard), new.encode())
        store.discard_all(find_notes(store, new.column, new.shard))
    return new


def load_current(store: Store, receipt: Receipt) -> tuple[Receipt, list[Sample]]:
    """The samples of a shard, and its receipt: a new one where a replacement that had died was finished.

    Raises DamagedShard.
    """
    try:
        return receipt, load_verified(store, receipt)
    except DamagedShard:
        newer = _finish(store, receipt)
        if newer is None:
            raise
    return newer, load_verified(store, newer)


def _finish(store: Store, receipt: Receipt) -> Receipt | None:
    """The receipt of the tar that is there, if it replaced the one that `receipt` is of."""
    column, shard = receipt.column, receipt.shard
    try:
        noted = load_noted(store, tar_path(column, shard), lambda sha256: note_path(column, shard, sha256))
        newer = Receipt.decode(noted.note, noted.path)
    except (FileNotFoundError, DamagedShard):
        return None
    if (newer.column, newer.shard, newer.first, newer.sha256) != (column, shard, receipt.identity, noted.sha256):
        return None
    store.replace_bytes(receipt_path(column, shard), noted.note)
    store.discard(noted.path)
    return newer
