"""A folder of pictures that are kept: each appears whole or not at all, and none is made twice.

A picture's name ends with a digest of all that decides it, so that the same request finds what it has and
continues, and another one adds its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.extractors.maps import png


@dataclass(frozen=True)
class ImageFolder:
    """folder: may not exist yet. record: all that decides the pictures in it but their names, JSON-able."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Eight hex digits of sha256, of the record."""
        text = json.dumps(self.record, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}-{self.digest}.png"

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str) -> np.ndarray:
        """uint8 (H, W, 3)."""
        return png.decode_rgb(self.path(name).read_bytes())

    def write(self, name: str, picture: np.ndarray) -> Path:
        """Keep uint8 (H, W, 3) under this name, unless there is one."""
        path = self.path(name)
        if not path.exists():
            write_file(path, png.encode_rgb(picture))
        return path

    def describe(self, name: str, **more: Any) -> Path:
        """Write the record, and what is particular to this picture, next to it as JSON."""
        path = self.path(name).with_suffix(".json")
        write_json(path, {**self.record, **more})
        return path


def digest_array(pixels: np.ndarray) -> str:
    """sha256 of type, shape and values."""
    digest = hashlib.sha256(f"{pixels.dtype} {pixels.shape}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
