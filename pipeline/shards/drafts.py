"""Drafts: what an attempt notes before it makes a tar, so that another attempt can finish the tar.

A download gives other bytes each time, so a tar without a receipt cannot be made again. The note is named after
the sha256 of the tar, and so belongs to these bytes alone.

And what workers read of the input for a plan, until the plan is made.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.store import Store

DRAFTS = "drafts"
"""The folder of the notes."""
PLAN = "plan-"
"""What the names of drafts of a plan begin with."""


@dataclass(frozen=True)
class Noted:
    """A tar without a receipt, and what the attempt that made it noted. path: of the note."""

    tar: memoryview
    sha256: str
    path: str
    note: bytes


def load_noted(store: Store, tar_path: str, name_draft: Callable[[str], str]) -> Noted:
    """The tar and its note. name_draft: the sha256 of the tar -> the path of its note.

    Raises FileNotFoundError where there is no tar, DamagedShard where there is no note for its bytes.
    """
    tar = store.load(tar_path)
    sha256 = hashlib.sha256(tar).hexdigest()
    path = name_draft(sha256)
    try:
        return Noted(tar, sha256, path, bytes(store.load(path)))
    except FileNotFoundError:
        raise DamagedShard(f"{tar_path} has no receipt, and no attempt noted these bytes; delete it") from None


@dataclass(frozen=True)
class PlanDrafts:
    """Where workers keep what they read for one plan. Each command has its own: two may plan a dataset at once."""

    store: Store
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)

    def path(self, part: int, name: str) -> str:
        """drafts/plan-81bc01….000012.rows"""
        return f"{DRAFTS}/{PLAN}{self.owner}.{shard_name(part)}.{name}"

    def discard(self) -> None:
        """Remove them."""
        names = self.store.names_from(DRAFTS, [f"{PLAN}{self.owner}."])
        self.store.discard_all([f"{DRAFTS}/{name}" for name in names])
