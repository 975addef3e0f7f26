"""The weight files that the recipe of a column names, for the card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RequestError

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Weights:
    """A file that a column was made with."""

    file: str
    sha256: str
    licence: str


def find_weights(record: Any, column: str) -> Iterator[Weights]:
    """Every weight file that the recipe of a column names, wherever in it. RequestError for what is no digest."""
    if isinstance(record, dict):
        if "file" in record and "sha256" in record:
            sha256 = record["sha256"]
            if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
                raise RequestError(
                    f"{column}/column.json: the sha256 of {str(record['file'])[:100]!r} must be 64 hexadecimal "
                    f"digits, not {str(sha256)[:100]!r}"
                )
            yield Weights(str(record["file"]), sha256, str(record.get("licence", "unknown")))
        else:
            for value in record.values():
                yield from find_weights(value, column)
    elif isinstance(record, list):
        for value in record:
            yield from find_weights(value, column)
