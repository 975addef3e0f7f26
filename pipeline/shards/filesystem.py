"""The client of a place that fsspec knows."""

from __future__ import annotations

from typing import Any

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import hide_secrets

EXTRAS = {"gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure", "az": "azure"}
"""Protocol -> the extra of this package with its client; that of S3 is always installed."""


def open_filesystem(url: str, **options: Any) -> tuple[Any, str]:
    """(fsspec's file system, the path of `url` in it). Raises RequestError."""
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        extra = EXTRAS.get(url.partition("://")[0]) if isinstance(error, ImportError) else None
        way_out = f"; pip install 't2i-shards[{extra}]'" if extra else ""
        raise RequestError(f"cannot open {hide_secrets(url)}: {error}{way_out}") from None
    return fs, str(path)
