"""Receipts that are noted before their tar, for shards that another attempt would make with other bytes.

The web may answer two attempts at one shard differently. Each attempt notes its receipt as
drafts/train-000012.<sha256 of the tar>.json, then tries to create the tar. The first tar stays; a later run that
finds it without a receipt finishes it with the one noted for these bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import partial
from pathlib import Path

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.publish.assignment import Target
from t2i_shards.pipeline.publish.index import scan
from t2i_shards.pipeline.publish.pack import (
    commit_published,
    data_path,
    index_paths,
    make_indexes,
    read_receipt,
    shard_paths,
)
from t2i_shards.pipeline.publish.signature import list_sizes
from t2i_shards.pipeline.shards.commit import Extra, commit
from t2i_shards.pipeline.shards.drafts import DRAFTS, load_noted
from t2i_shards.pipeline.shards.folder_store import map_file
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.store import Store


def draft_path(target: Target, sha256: str) -> str:
    """drafts/train-000012.81bc01….json"""
    return f"{DRAFTS}/{target.name}.{sha256}.json"


def commit_noted(to: Store, target: Target, tar: Path, receipt: Receipt) -> Receipt:
    """Note the receipt, then commit the shard. Returns the receipt of the attempt whose tar was first."""
    to.create_bytes(draft_path(target, receipt.sha256), receipt.encode())
    indexes = make_indexes(target, scan(map_file(tar)), receipt.bytes)
    return commit_published(to, target, tar, receipt, indexes, partial(_adopt, target))


def finish_noted(to: Store, target: Target, recipe: str) -> Receipt | None:
    """Finish the shard whose tar another attempt has left, by its note; None when there is no tar.

    Returns the receipt in the store. Raises DamagedShard for a tar without a note.
    """
    try:
        receipt, indexes = _read_noted(target, to, data_path(target), recipe)
    except FileNotFoundError:
        return None
    return commit(to, None, receipt, indexes, paths=shard_paths(target))


def _adopt(target: Target, to: Store, path: str, ours: Receipt, _: Extra) -> tuple[Receipt, Extra]:
    return _read_noted(target, to, path, ours.recipe)


def _read_noted(target: Target, to: Store, path: str, recipe: str) -> tuple[Receipt, Extra]:
    """The receipt that was noted for the target's tar at `path`, and the tar's indexes."""
    noted = load_noted(to, path, partial(draft_path, target))
    receipt = Receipt.decode(noted.note, noted.path)
    expected = (target.split, target.number, noted.sha256, recipe)
    if (receipt.column, receipt.shard, receipt.sha256, receipt.recipe) != expected:
        raise DamagedShard(f"{noted.path}: is not the note of {path}; delete it")
    return receipt, make_indexes(target, scan(noted.tar), len(noted.tar))


def discard_unnoted(to: Store, targets: Collection[Target]) -> None:
    """Remove the files of shards without a receipt that were begun before receipts were noted.

    Those that another attempt is making stay: its draft is older than its tar, and its tar than its indexes.
    """
    listed = list_sizes(to, [path for target in targets for path in _paths(target)]).keys()
    for target in targets:
        paths = _paths(target)
        # The receipt last: a draft goes only after it was created.
        if not listed.isdisjoint(paths) and not _is_noted(to, target) and read_receipt(to, target) is None:
            for path in paths:
                to.discard(path)


def _paths(target: Target) -> tuple[str, ...]:
    return (data_path(target), *index_paths(target))


def _is_noted(to: Store, target: Target) -> bool:
    try:
        sha256 = hashlib.sha256(to.load(data_path(target))).hexdigest()
    except FileNotFoundError:
        return False
    return Path(draft_path(target, sha256)).name in to.names(DRAFTS)


def discard_drafts(to: Store) -> None:
    """Remove all drafts, once every shard has its receipt."""
    to.discard_all([f"{DRAFTS}/{name}" for name in to.names(DRAFTS)])
