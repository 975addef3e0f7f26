"""What a dataset and its columns were asked for, kept next to them, so that --config asks for the same again."""

from __future__ import annotations

from typing import Any

from t2i_shards.adapters.config_file import NAME, render_config
from t2i_shards.pipeline.shards.store import Store

HOW = ("root", "out", "json", "engine", "workers", "single-writer", "retry-failed", "add-new", "dry-run")
"""Flags that decide nothing of what is in a dataset, which is the same wherever and however it is made."""


def keep_request(store: Store, folder: str, command: str, request: Any) -> None:
    """FOLDER/config.toml, once: what was asked for when that folder of a dataset was begun; "" for ROOT."""
    store.create_bytes(f"{folder}/{NAME}".lstrip("/"), render_config(command, request, without=HOW))
