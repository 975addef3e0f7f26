"""All that touches the network for weights, one function for each kind of source. Nothing is verified here."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from t2i_shards.extractors.weights.file import WeightFile

CONNECT_TIMEOUT = 3.0
"""Seconds that the hub has to answer: a machine without network learns of it at once."""
READ_TIMEOUT = 30.0
"""Seconds that a download from a publisher's own address may stall."""
MOST_BYTES = 4 << 30
"""No weight file is larger; one of known size may have just that."""
SCHEMES = ("https",)


def fetch_from_hub(weight: WeightFile) -> Path:
    """The path of the file in the hub client's own cache.

    One try, no token. HF_HUB_OFFLINE and files already in the hub client's cache are respected.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repo, file, revision = weight.hub, weight.filename, weight.revision
    present = try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(present, str):
        return Path(present)
    # hf_hub_download alone retries for 23 s where there is no network; this asks once.
    url = hf_hub_url(repo, file, revision=revision)
    _check_length(weight, get_hf_file_metadata(url, timeout=CONNECT_TIMEOUT, token=False).size)
    return Path(hf_hub_download(repo, file, revision=revision, token=False))


def fetch_from_url(weight: WeightFile, scratch: Path) -> Path:
    """`scratch`, filled with what lies at the publisher's address.

    One try, https only, redirects included, and no byte more than the size allows. HF_HUB_OFFLINE is respected.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConnectionError("HF_HUB_OFFLINE is set")
    opener = urllib.request.build_opener(_SchemesOnly())
    with opener.open(_check_scheme(weight.url), timeout=READ_TIMEOUT) as answer, scratch.open("wb") as file:
        length = answer.headers.get("Content-Length")
        announced = None if length is None else int(length)
        _check_length(weight, announced)
        while chunk := answer.read(1 << 20):
            file.write(chunk)
            if file.tell() > (weight.bytes or MOST_BYTES):
                raise ValueError(f"more than {weight.bytes or MOST_BYTES} bytes came from {weight.url}")
        if announced not in (None, file.tell()):
            raise ConnectionError(f"{file.tell()} of {announced} bytes came from {weight.url}")
    return scratch


def _check_length(weight: WeightFile, announced: int | None) -> None:
    if announced is None:
        return
    if announced > MOST_BYTES or announced != (weight.bytes or announced):
        raise ValueError(f"{weight.filename} must have {weight.bytes or MOST_BYTES} bytes, not {announced}")


def _check_scheme(url: str) -> str:
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"weights come by {' or '.join(SCHEMES)} only, not from {url}")
    return url


class _SchemesOnly(urllib.request.HTTPRedirectHandler):
    """A redirect may not leave https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        return super().redirect_request(req, fp, code, msg, headers, _check_scheme(newurl))
