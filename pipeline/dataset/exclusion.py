"""Why a sample of a dataset is not published: decided here for publish, and for the report that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from t2i_shards.pipeline.dataset.aligned import Receipts, dropped_keys
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample_info import SampleInfo
from t2i_shards.pipeline.sources.licence import LICENCE, UNKNOWN

REMOVED, OTHER_LICENCE, NO_LICENCE, DUPLICATE = "removed", "licence not asked for", "licence unknown", "duplicate"


@dataclass(frozen=True)
class Exclusion:
    """columns: those that are published; every sample must be in all of them. removed: shard -> keys.

    duplicates: shard -> keys of duplicates that are left out. licenses: the only ones that are published, by name
    in upper or lower case or by COCO's ids; all when empty.
    """

    columns: Sequence[str]
    removed: Mapping[int, Collection[str]] = field(default_factory=dict)
    duplicates: Mapping[int, Collection[str]] = field(default_factory=dict)
    licenses: Collection[str] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """All that `reason` may give, in the order in which it looks for them."""
        lacking = (_lacks(column) for column in self.columns if column != IMAGES)
        return (REMOVED, *lacking, NO_LICENCE, OTHER_LICENCE, DUPLICATE)

    def reason(self, key: str, receipts: Receipts, info: SampleInfo | None) -> str | None:
        """Why the sample is left out, by the first reason that applies; None for one that is published.

        receipts: of its shard, by column. info: its json; None where that is not known, or damaged.
        """
        shard = receipts[IMAGES].shard
        if key in self.removed.get(shard, ()):
            return REMOVED
        for column in self.columns:
            if column in receipts and key in receipts[column].dropped:
                return _lacks(column)
        if self.licenses:
            names = licence_names(info)
            if names.isdisjoint(_fold(asked) for asked in self.licenses):
                return OTHER_LICENCE if names else NO_LICENCE
        return DUPLICATE if key in self.duplicates.get(shard, ()) else None

    def count(self, receipts: Mapping[str, Mapping[int, Receipt]]) -> dict[str, int]:
        """reason -> samples, from receipts alone (column -> shard), so without reasons of licence."""
        found = Counter[str]()
        for shard in receipts[IMAGES]:
            here = {column: receipts[column][shard] for column in receipts if shard in receipts[column]}
            keys = {*dropped_keys(here), *self.removed.get(shard, ()), *self.duplicates.get(shard, ())}
            found.update(reason for key in keys if (reason := self.reason(key, here, None)) is not None)
        return {reason: found[reason] for reason in self.reasons if found[reason]}


def _lacks(column: str) -> str:
    return f"no {column}"


def licence_names(info: SampleInfo | None) -> set[str]:
    """What a picture's own licence is called in its json, in lower case; nothing where it is not known."""
    source = info.source if info else {}
    named = (source.get(name) for name in (LICENCE, "license_name", "license_url"))
    return {_fold(name) for name in named if name} - {UNKNOWN}


def _fold(name: Any) -> str:
    return " ".join(str(name).casefold().split())


def licence_name(info: SampleInfo) -> str:
    """The name and address of a picture's own licence, as its source gives them; "" where it gives none."""
    source = info.source
    parts = [source.get("license_name") or source.get("license"), source.get("license_url")]
    return ", ".join(str(part) for part in parts if part)
