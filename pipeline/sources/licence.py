"""The licence of a picture, as its source names it: kept in the sample's json, for the card and `--licenses`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LICENCE = "license"
"""Where a sample's json has it, under `source`; COCO has its id there, and the name in `license_name`."""
UNKNOWN = "unknown"
SPELLINGS = ("license", "licence", "license_name", "licence_name", "licensename")
"""What it is called in tables, metadata and JSON, the first that there is."""
NAMING = ("name", "url")
"""What a record of a licence is named by, the first that there is."""
_NOTHING = frozenset({"", "?", "-", "none", "null", "nan", "n/a", UNKNOWN})
_LONGEST = 200


def clean_licence(value: Any) -> str:
    """The name or address of a licence on one line; UNKNOWN where nothing is said.

    value: a text, a number, a list of them, or a record with a name or a url.
    """
    if isinstance(value, Mapping):
        value = next((value[name] for name in NAMING if value.get(name)), None)
    if isinstance(value, list):
        value = ", ".join(name for name in map(clean_licence, value) if name != UNKNOWN)
    text = str(value) if isinstance(value, str | int | float) else ""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return UNKNOWN if line.lower() in _NOTHING else line[:_LONGEST]


def find_licence(record: Mapping[str, Any], asked: str | None = None) -> str | None:
    """The licence that a record names; None where it has no value of one of these names.

    asked: the name, by an option.
    """
    name = asked or next((name for name in SPELLINGS if name in record), None)
    return clean_licence(record.get(name)) if name else None
