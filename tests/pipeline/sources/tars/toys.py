"""Tars as others write them."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.sources.base import Original
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tars.samples import MemberChoice
from t2i_shards.pipeline.sources.tars.source import TarsSource
from tests.pipeline.image.pictures import gradient, save

JPEG = save(gradient(80, 96), "JPEG")
PNG = save(gradient(80, 96), "PNG")


def write_tar(path: Path, members: Mapping[str, bytes | str | dict[str, Any]], **options: Any) -> Path:
    """Regular files in this order; a dict is stored as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def planned(pattern: Path | str, **choice: Any) -> tuple[list[Row], Counter[str]]:
    left_out = LeftOut()
    return list(TarsSource(str(pattern), MemberChoice(**choice)).rows(left_out)), left_out


def originals(pattern: Path | str, rows: list[Row], scratch: Path) -> list[Original | str]:
    """What each row gives: its original, or the reason why there is none."""
    found: list[Original | str] = []
    with TarsSource(str(pattern)).gather(rows, 64, scratch) as opener:
        for row in rows:
            try:
                found.append(opener(row))
            except Drop as drop:
                found.append(drop.reason)
    return found
