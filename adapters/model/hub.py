"""Adapters on the Hugging Face Hub: USER/NAME, or USER/NAME/FILE where a repository holds several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from t2i_shards.extractors.weights.fetch import CONNECT_TIMEOUT, MOST_BYTES
from t2i_shards.pipeline.errors import RequestError, describe_error

_PART = r"\w[\w.-]*"
HUB_ID = re.compile(rf"(?:hf://)?({_PART}/{_PART})(?:/((?:{_PART}/)*{_PART}\.(?:safetensors|pth|pt|bin|ckpt)))?")


def fetch_adapter(name: str, files: Sequence[str]) -> Path:
    """The file of weights in the cache of the Hub's client: FILE, or the first of `files` that the repository has.

    The newest one there is; where the Hub cannot be reached or HF_HUB_OFFLINE is set, the one that was fetched
    before. A token that the client knows is used, as for bases. Raises RequestError.
    """
    found = HUB_ID.fullmatch(name)
    if found is None:
        raise RequestError(f"there is no adapter {name}")
    repository, file = found.groups()
    wanted = [file] if file else list(files)
    try:
        path = _fetch_first(repository, wanted)
    except Exception as error:  # the client raises errors of its own, of its HTTP library and OSError
        path = _find_cached(repository, wanted)
        if path is None:
            raise RequestError(
                f"adapter {name}, taken as a hub id (there is no such file or folder), cannot be fetched: "
                f"{describe_error(error)[:200]}"
            ) from error
    if path is None:
        raise RequestError(f"adapter {name}: the repository on the Hub has none of {', '.join(wanted)}")
    return path


def _fetch_first(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for file in files:
        try:
            # Asked for first, with a timeout: without a network hf_hub_download alone retries for 23 s.
            size = get_hf_file_metadata(hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT).size
        except EntryNotFoundError:
            continue
        if size is not None and size > MOST_BYTES:
            raise ValueError(f"{file} has {size} bytes, more than any adapter")
        return Path(hf_hub_download(repository, file))
    return None


def _find_cached(repository: str, files: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)
