"""A sample's json: what is known of its picture, written by ingest and read by everything after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from t2i_shards.extractors.records import BadRecord, Positive, decode_record
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.shards.receipt import to_compact_json
from t2i_shards.pipeline.shards.sample import Sample

Captions = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class SampleInfo:
    """captions: at least one. width, height: of the stored picture, in pixels.

    placement: how the original became the stored picture. sha256: of the original file, None where there was none.
    source: "location", the path or URL of the original, and what else its source knows.
    """

    key: str
    captions: Captions
    width: Positive
    height: Positive
    placement: Placement
    sha256: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """The path or URL of the original; "" where the source names none."""
        return str(self.source.get("location") or "")

    def encode(self) -> bytes:
        """The same record gives the same bytes."""
        # `asdict` would copy every value, which takes four times as long.
        return to_compact_json({**vars(self), "placement": vars(self.placement)})


def read_info(sample: Sample) -> SampleInfo:
    """The sample's json. Raises DamagedShard, which names the sample, for one that is missing or malformed."""
    try:
        return decode_record(sample.members["json"], SampleInfo)
    except (BadRecord, KeyError) as error:
        why = "is missing" if isinstance(error, KeyError) else str(error)
        raise DamagedShard(f"{sample.key}: its json {why}") from None
