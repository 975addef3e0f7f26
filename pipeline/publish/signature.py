"""The signature of a publication: SHA256SUMS, written last, and the only sign that the publication is whole.

Its lines are as `sha256sum` writes and checks them.

It is created once for each revision and never replaced. One that does not fit the files is removed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from t2i_shards.pipeline.errors import DamagedShard, IncompleteError
from t2i_shards.pipeline.publish.edits import CARD, EDITABLE, is_sealed
from t2i_shards.pipeline.publish.plan import MANIFEST, SUMS
from t2i_shards.pipeline.shards.store import AT_ONCE, Store

LINE = re.compile("([0-9a-f]{64})  (.+)")


def sum_lines(sums: Mapping[str, str]) -> bytes:
    """The file's bytes. sums: path -> sha256 in hexadecimal."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def read_sums(data: bytes | memoryview) -> dict[str, str]:
    """What `sum_lines` was given. Raises DamagedShard."""
    sums = {}
    for line in bytes(data).decode("utf-8", "replace").splitlines():
        if not (found := LINE.fullmatch(line)):
            raise DamagedShard(f"SHA256SUMS: a line must be a sha256, two spaces and a path, not {line[:100]!r}")
        sums[found[2]] = found[1]
    return sums


@dataclass(frozen=True)
class ShardFiles:
    """The files of a published shard. size: of the tar, by the receipt. others: what else belongs to the shard."""

    receipt: str
    tar: str
    size: int
    others: tuple[str, ...]


def load_sums(to: Store) -> dict[str, str] | None:
    """Path -> sha256, as the signature says; None when there is none. Raises DamagedShard."""
    try:
        return read_sums(to.load(SUMS))
    except FileNotFoundError:
        return None
    except DamagedShard as error:
        raise DamagedShard(f"{to.root}/{error}; delete it and publish again") from None


def hash_files(to: Store, paths: Iterable[str]) -> dict[str, str]:
    """Path -> sha256 of what is there."""
    paths = list(paths)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        digests = threads.map(lambda path: hashlib.sha256(to.load(path)).hexdigest(), paths)
        return dict(zip(paths, digests, strict=True))


def list_sizes(to: Store, paths: Collection[str]) -> dict[str, int]:
    """Path -> bytes of all files in the folders of these paths: a listing for each folder."""
    folders = sorted({path.rpartition("/")[0] for path in paths})
    return {
        f"{folder}/{name}" if folder else name: size
        for folder in folders
        for name, size in to.sizes(folder).items()
    }


def check_shards(to: Store, shards: Collection[ShardFiles], planned: int) -> bool:
    """Whether all planned shards are whole, of which `shards` have a receipt. If not, the signature is removed.

    A shard whose tar is gone or has another size, or that lacks a file, is deleted: its receipt first, so that it
    counts as not made.
    """
    listed = list_sizes(to, [path for shard in shards for path in (shard.tar, *shard.others)])
    damaged = [s for s in shards if listed.get(s.tar) != s.size or not listed.keys() >= set(s.others)]
    whole = len(shards) - len(damaged) == planned
    if not whole:
        unsign(to)
    for shard in damaged:
        for path in (shard.receipt, *shard.others, shard.tar):
            to.discard(path)
    return whole


def check_signature(to: Store, vouched: Mapping[str, str], needed: Collection[str] = ()) -> bool:
    """Whether a signature names these files, and all that it names is there. Otherwise it is removed.

    vouched: path -> sha256 that it must have. needed: more paths that it must name. Of contents only those of the
    manifest and of the files that may be edited are read.
    """
    sums = load_sums(to)
    if sums is None:
        to.discard(MANIFEST)  # left by a run that died before it signed
        return False
    listed = list_sizes(to, sums.keys())
    whole = vouched.items() <= sums.items() and sums.keys() >= set(needed) and listed.keys() >= sums.keys()
    if whole and hash_files(to, [MANIFEST])[MANIFEST] == sums.get(MANIFEST) and not _names_edited(to, sums):
        return True
    unsign(to)
    return False


def _names_edited(to: Store, sums: Mapping[str, str]) -> bool:
    """Whether a file that was edited is among the signed ones, with the digest it had before."""
    for path in sums.keys() & set(EDITABLE):
        data = bytes(to.load(path))
        if not is_sealed(data) and hashlib.sha256(data).hexdigest() != sums[path]:
            return True
    return False


def unsign(to: Store) -> None:
    """Remove the signature, before any file that it covers."""
    _discard_old_card(to)
    to.discard(SUMS)
    to.discard(MANIFEST)


def _discard_old_card(to: Store) -> None:
    """Remove a card from before cards were sealed, while the sums still show that it was not edited."""
    try:
        card, sums = bytes(to.load(CARD)), read_sums(to.load(SUMS))
    except FileNotFoundError:
        return
    if not is_sealed(card) and sums.get(CARD) == hashlib.sha256(card).hexdigest():
        to.discard(CARD)


def sign(to: Store, manifest: bytes, sums: Mapping[str, str], unchanged: Callable[[], bool]) -> None:
    """Write the manifest, then the signature over it and `sums`; each is created once.

    unchanged: whether the files are still those that are signed; called before and after, as another publisher may
    begin a new revision at any moment. Raises IncompleteError when one did, and leaves no signature of ours.
    """
    signature = sum_lines({**sums, MANIFEST: hashlib.sha256(manifest).hexdigest()})
    files = ((MANIFEST, manifest), (SUMS, signature))
    if unchanged() and all(to.create_bytes(path, data) or _holds(to, path, data) for path, data in files):
        if unchanged() and all(_holds(to, path, data) for path, data in files):
            return
        if _holds(to, SUMS, signature):
            to.discard(SUMS)
    raise other_publisher(to)


def _holds(to: Store, path: str, data: bytes) -> bool:
    with suppress(FileNotFoundError):
        return bytes(to.load(path)) == data
    return False


def replace_draft(to: Store, path: str, data: bytes) -> None:
    """Make a file that will be signed, in place of one with other bytes that an earlier attempt left.

    Raises IncompleteError when there is a signature: then the file is no draft but another publisher's.
    """
    if to.create_bytes(path, data) or _holds(to, path, data):
        return
    if SUMS not in to.names(""):
        to.discard(path)
        if to.create_bytes(path, data):
            return
    raise other_publisher(to)


def other_publisher(to: Store) -> IncompleteError:
    """What to raise when another publisher has changed the publication in the meantime."""
    return IncompleteError(f"{to.root}: another publisher is at work there; run again when it has ended")
