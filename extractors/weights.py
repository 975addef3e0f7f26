"""Where a network's weights come from, and the proof that they are the ones named.

A file is looked for in the folder the user gave (--weights), in the cache, on the hub, in this order, and its
sha256 is checked before anything of it is deserialised, wherever it came from.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECT_TIMEOUT = 3.0
"""Seconds that the hub has to answer: a machine without network learns of it at once."""


class WeightsUnavailable(Exception):
    """The weights are in none of the three places; one line that says where was looked and what to pass."""


class WeightsDamaged(Exception):
    """A file has the name of the weights but other bytes; one line with both digests."""


@dataclass(frozen=True)
class WeightFile:
    """One pinned file.

    `name` is the family, and the folder the file may lie in; `hub` and `revision` name a hub repository;
    `bytes` is the size; `licence` is what a published column must say.
    """

    name: str
    hub: str
    revision: str
    filename: str
    bytes: int
    sha256: str
    licence: str

    def recipe(self) -> dict[str, Any]:
        """The weights' part of a column's recipe."""
        return {"file": self.filename, "sha256": self.sha256, "licence": self.licence}


def cache_folder() -> Path:
    """$T2I_SHARDS_CACHE, or ~/.cache/t2i-shards."""
    return Path(os.environ.get("T2I_SHARDS_CACHE") or Path.home() / ".cache" / "t2i-shards")


def resolve(weight: WeightFile, directory: Path | None) -> Path:
    """The verified file: DIR/filename or DIR/name/filename of --weights DIR, else the cache, else the hub.

    Raises WeightsDamaged if the first file found has another digest, WeightsUnavailable if there is none.
    """
    cached = cache_folder() / weight.name / weight.filename
    given = [directory / weight.filename, directory / weight.name / weight.filename] if directory else []
    for path in [*given, cached]:
        if path.is_file():
            _verify(weight, path)
            return path
    try:
        downloaded = fetch_from_hub(weight)
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and OSError
        where = f"not in --weights {directory}" if directory else "no --weights given"
        raise WeightsUnavailable(
            f"{weight.filename} ({weight.bytes} bytes): {where}, not in the cache ({cached}), and "
            f"{weight.hub} on the hub failed ({type(error).__name__}); pass --weights DIR that holds it"
        ) from error
    _verify(weight, downloaded)
    _publish(downloaded, cached)
    return cached


def fetch_from_hub(weight: WeightFile) -> Path:
    """The one place where weights touch the network: the path of the file in the hub client's own cache.

    One try, no token. HF_HUB_OFFLINE and files already in the hub client's cache are respected.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repo, file, revision = weight.hub, weight.filename, weight.revision
    present = try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(present, str):
        return Path(present)
    # hf_hub_download alone retries for 23 s where there is no network; this asks once.
    get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=CONNECT_TIMEOUT, token=False)
    return Path(hf_hub_download(repo, file, revision=revision, token=False))


def _verify(weight: WeightFile, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weight.sha256:
        raise WeightsDamaged(f"{path}: sha256 must be {weight.sha256}, is {found}; it was not loaded")


def _publish(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        shutil.copyfile(source, scratch)
        os.replace(scratch, target)
    finally:
        Path(scratch).unlink(missing_ok=True)
