"""What one shard comes to in one column: samples, and why some pictures have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from extractors.base import Format, Map
from pipeline.sample import Sample
from pipeline.stage import Fuse, describe_error

Members: TypeAlias = Mapping[str, bytes] | Exception
"""A sample's members, or why it has none."""


@dataclass
class Column:
    """One column of one shard as it fills.

    seconds: the extractor's own, and an equal share of the waiting for pictures, which all columns need.
    Encoding is done beside, and not counted.
    """

    name: str
    fuse: Fuse
    samples: dict[str, Sample] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, key: str, members: Members) -> None:
        """The next sample, or why there is none. Raises BrokenStage after too many of the latter in a row."""
        if isinstance(members, Exception):
            line = f"{key}: {describe_error(members)}"
            self.dropped[key] = f"failed ({type(members).__name__})"
            self.errors.append(line)
            self.fuse.fail(f"{self.name}: {line}")
        else:
            self.samples[key] = Sample(key, members)
            self.fuse.succeed()


def encode(
    column: Column, form: Format, keys: Sequence[str], maps: Sequence[Map | Exception]
) -> tuple[Column, list[tuple[str, Members]]]:
    """What `take` takes; touches nothing of the column, so that it may run on any thread."""
    return column, [(key, _encode_one(form, map)) for key, map in zip(keys, maps, strict=True)]


def _encode_one(form: Format, map: Map | Exception) -> Members:
    if isinstance(map, Exception):
        return map
    try:
        return form.encode(map)
    except Exception as error:
        return error


def take(encoded: tuple[Column, list[tuple[str, Members]]]) -> None:
    """Put what `encode` gave into its column."""
    column, samples = encoded
    for key, members in samples:
        column.take(key, members)
