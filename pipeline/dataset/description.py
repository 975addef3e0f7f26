"""What a dataset says of itself in dataset.json, and a column in column.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from t2i_shards.extractors.records import BadRecord, Count, Positive, convert_record, decode_record
from t2i_shards.pipeline.dataset.plan import ShardCount
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import FORMAT, digest_json, to_json
from t2i_shards.pipeline.shards.store import Store

OWN = frozenset({"scenes", "folder", "coco"})
"""Kinds of sources whose files of earlier versions do not say that they are no crawl."""


@dataclass(frozen=True)
class Description:
    """dataset.json. source: how the rows were made. geometry: what is done to every picture.

    crawl: whether the pictures are other people's, by the source's own word; None in files of earlier versions.
    spread: how many shards a folder of this copy holds, whose folders are divided; see `SpreadStore`.
    """

    source: Mapping[str, Any]
    geometry: Mapping[str, Any]
    shard_size: Positive
    shards: ShardCount
    samples: Count
    plan: str
    format: int = FORMAT
    crawl: bool | None = None
    spread: Positive | None = None

    @property
    def is_crawl(self) -> bool:
        """Whether the pictures are other people's, and are published only when asked for."""
        return self.source["kind"] not in OWN if self.crawl is None else self.crawl

    def encode(self) -> bytes:
        """The file, without the fields that say nothing."""
        optional = {"crawl", "spread"}
        return to_json({n: v for n, v in asdict(self).items() if v is not None or n not in optional})

    @property
    def recipe(self) -> str:
        """The recipe digest of the images column."""
        return digest_json({"source": self.source, "geometry": self.geometry, "plan": self.plan})


@dataclass(frozen=True)
class Weights:
    """The file that a network was made of, in a column's recipe."""

    file: str | None = None
    sha256: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What is read of a column.json, whichever tool wrote it; the rest of it only counts in its digest."""

    condition: str | None = None
    extractor: str | None = None
    made_by: str | None = None
    variant: str | None = None
    version: int | str | None = None
    licence: str | None = None
    weights: Weights | None = None
    parameters: Mapping[str, Any] | None = None


def read_description(store: Store) -> Description:
    """That of the dataset in the store. Raises RequestError."""
    name = f"{store.root}/dataset.json"
    try:
        record = decode_record(store.load("dataset.json"), dict[str, Any])
        if record.get("format") != FORMAT:
            raise BadRecord(f"must have format {FORMAT}, has {str(record.get('format'))[:100]}")
        description = convert_record(record, Description, closed=True)
        if not isinstance(description.source.get("kind"), str):
            raise BadRecord("must name the kind of its source")
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"{name}: not there; this is not a dataset (make one with ingest)") from None
    except BadRecord as error:
        raise RequestError(tell_damage(name, str(error))) from None
    return description
