"""Digests that were learnt on this machine.

A lock is a small JSON file: "sha256", the first full digest seen of a weight file, and "converted", the digest of
the safetensors file that was made of it here.
"""

import json
from pathlib import Path

from t2i_shards.extractors.atomic import create_file, write_json
from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular


def read_lock(path: Path) -> dict[str, str]:
    """What is locked; nothing if there is no such file. Raises BadRecord, which names the file."""
    try:
        if not path.is_file():
            return {}
        found: dict[str, str] = decode_record(read_regular(path), dict[str, str])
        if not found.get("sha256"):
            raise BadRecord("must hold a sha256")
        return found
    except BadRecord as error:
        raise BadRecord(f"{path}: {error}; without it, the next weight file is taken as the right one") from None


def lock(path: Path, digest: str) -> str:
    """The locked digest; `digest` if there was none. Of two processes that lock at once one wins."""
    present = read_lock(path).get("sha256")
    if present:
        return present
    try:
        with create_file(path) as scratch:
            scratch.write_text(json.dumps({"sha256": digest}))
    except FileExistsError:
        return read_lock(path)["sha256"]
    return digest


def lock_converted(path: Path, digest: str, converted: str) -> None:
    """Record that the file of digest `converted` was made here of the verified file of digest `digest`."""
    write_json(path, {"sha256": digest, "converted": converted})
