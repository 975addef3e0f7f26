"""One file of weights: where it comes from, its digest and its licence; and digests learnt on this machine.

A lock is a small JSON file: "sha256", the first full digest seen of a weight file, and "converted", the digest of
the safetensors file that was made of it here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from t2i_shards.extractors.atomic import cache_folder, create_file, write_json
from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular

SHIPPED = Path(__file__).parents[1] / "mini"
"""The weights that come with this package; SHA256SUMS next to them is the output of `sha256sum`."""


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


class WeightsUnavailable(Exception):
    """The weights are in none of the three places; one line that says where they were sought and what to pass."""


class WeightsDamaged(Exception):
    """A file has the name of the weights but other bytes; one line with both digests."""


@dataclass(frozen=True)
class WeightFile:
    """One weight file.

    `name` is the family, and the folder the file may lie in; `licence` is what a published column must say.
    It comes with this package (`shipped`), lies in the hub's repository `hub` at `revision`, at `url`, or nowhere
    that is known.
    `bytes` is the size, None if unknown; `sha256` all 64 hex digits, as many first ones as are known, or none.
    """

    name: str
    filename: str
    licence: str
    hub: str = ""
    revision: str = ""
    url: str = ""
    bytes: int | None = None
    sha256: str = ""
    shipped: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the whole digest is known beforehand."""
        return len(self.sha256) == 64

    @property
    def source(self) -> str:
        """Where it can be obtained, in words."""
        if self.shipped:
            return "this package"
        return f"{self.hub} on the hub" if self.hub else self.url or "--weights alone"

    @property
    def cached(self) -> Path:
        """Its place in the cache."""
        return cache_folder() / self.name / self.filename

    @property
    def lock(self) -> Path:
        """The file that holds the digests learnt of it on this machine."""
        return self.cached.with_name(f"{self.cached.name}.lock")

    def locked(self) -> dict[str, str]:
        """The digests in its lock. Raises WeightsDamaged when the lock is."""
        try:
            return read_lock(self.lock)
        except BadRecord as error:
            raise WeightsDamaged(str(error)) from None

    def recipe(self) -> dict[str, Any]:
        """The weights' part of a column's recipe; for a file that is not pinned, after `resolve`."""
        digest = self.sha256 if self.pinned else self.locked()["sha256"]
        return {"file": self.filename, "sha256": digest, "licence": self.licence}


def shipped(filename: str) -> WeightFile:
    """The record of weights that this project has trained and ships."""
    digest = _shipped_digests().get(filename, "")
    licence = "Apache-2.0, trained by this project on its own scenes"
    return WeightFile(name="mini", filename=filename, licence=licence, sha256=digest, shipped=True)


@cache
def _shipped_digests() -> Mapping[str, str]:
    sums = SHIPPED / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.is_file() else []
    return {name: digest for digest, name in (line.split() for line in lines)}
