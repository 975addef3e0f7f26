"""Digests that were learnt on this machine, and files that appear whole or not at all.

A lock is a small JSON file: "sha256", the first full digest seen of a weight file, and "converted", the digest of
the safetensors file that was made of it here.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """$T2I_SHARDS_CACHE, or ~/.cache/t2i-shards."""
    return Path(os.environ.get("T2I_SHARDS_CACHE") or Path.home() / ".cache" / "t2i-shards")


def read_lock(path: Path) -> dict[str, str]:
    """What is locked; nothing if there is no such file."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def lock(path: Path, digest: str) -> str:
    """The locked digest; `digest` if there was none. Of two processes that lock at once one wins."""
    present = read_lock(path).get("sha256")
    if present:
        return present
    with scratch_beside(path) as scratch:
        scratch.write_text(json.dumps({"sha256": digest}))
        try:
            os.link(scratch, path)
        except FileExistsError:
            return read_lock(path)["sha256"]
    return digest


def lock_converted(path: Path, digest: str, converted: str) -> None:
    """Record that the file of digest `converted` was made here of the verified file of digest `digest`."""
    with scratch_beside(path) as scratch:
        scratch.write_text(json.dumps({"sha256": digest, "converted": converted}))
        os.replace(scratch, path)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """An empty file in the target's folder; gone afterwards unless it was moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
