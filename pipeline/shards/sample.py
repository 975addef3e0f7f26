"""A sample: a key and its members, as WebDataset has them (consecutive `<key>.<member>` files)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

KEY = re.compile(r"[0-9A-Za-z_-]+")


@dataclass(frozen=True)
class Sample:
    """`members` maps a member's name ("jpg", "sketch.png") to its bytes."""

    key: str
    members: Mapping[str, bytes | memoryview]


def is_key(text: str) -> bool:
    """True for `[0-9A-Za-z_-]+`: WebDataset cuts a name at its first dot, so a key must have none."""
    return KEY.fullmatch(text) is not None


def digest_keys(keys: Iterable[str]) -> str:
    """sha256 of the keys in their order, one per line."""
    return hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()
