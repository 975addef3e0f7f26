"""Sending a publication to the Hugging Face Hub: its claim first, then the shards, the signature last.

The library's own commits are used, a few hundred files at a time, so that an interrupted run need not start over.
Files that the Hub has already, by its own digests, are not sent again, and these digests are checked in the end.
Files that are not ours are neither replaced nor deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish.edits import CARD, EDITABLE, LICENCE, is_sealed, keep_edits
from t2i_shards.pipeline.publish.plan import CLAIM, MANIFEST, SUMS, refuse_difference
from t2i_shards.pipeline.publish.repository import HubRepository, Repository
from t2i_shards.pipeline.publish.signature import read_sums, replace_draft, sum_lines
from t2i_shards.pipeline.shards.folder_store import FolderStore, map_file

AT_ONCE = 250
"""Files of one commit at least; the Hub takes 128 commits an hour."""
MOST_COMMITS = 100
MOST_ENTRIES = 10_000
"""Files and folders that the Hub takes in one folder."""
LAST = (CARD, LICENCE, MANIFEST, SUMS)
HUBS_OWN = (".gitattributes",)


@dataclass(frozen=True)
class LocalFile:
    """A file to be sent, with the digests by which the Hub may know it."""

    path: Path
    sha256: str
    blob: str


@dataclass(frozen=True)
class Sent:
    """files: how many were sent. kept: the files that had been edited there, and stay so."""

    files: int
    kept: tuple[str, ...] = ()


def check_repository(folder: Path, place: Repository) -> None:
    """RequestError when the repository holds something else than the publication of `folder`, done or not."""
    hub = HubRepository(place)
    if hub.exists():
        _refuse_strangers(hub, hub.files(), folder)


def send(folder: Path, place: Repository) -> Sent:
    """Bring the publication in `folder` into the dataset repository, in place of its own earlier revision.

    Raises RequestError unless the publication is whole and within the Hub's limits, and the repository empty or
    its own; ConnectionError when the Hub cannot be reached or refuses; IncompleteError when other bytes arrive.
    """
    if not (folder / SUMS).is_file():
        raise RequestError(f"{folder} is not a complete publication: {SUMS}, which is written last, is not there")
    refuse_beyond_limits(names_of(folder))
    hub = HubRepository(place)
    hub.make()
    remote = hub.files()
    _refuse_strangers(hub, remote, folder)
    earlier = read_sums(hub.load(SUMS)) if SUMS in remote else {}
    kept = tuple(path for path in EDITABLE if _keep_edited(hub, remote, folder, earlier, path))
    local = {name: digest_file(folder / name) for name in names_of(folder)}
    files = _send_missing(hub, local, remote, earlier)
    there = hub.files() if files else remote
    wrong = sorted(name for name in local if not _same(local[name], there.get(name)))
    if wrong:
        raise IncompleteError(f"{place} has other bytes than were sent, first in {wrong[0]}; run again")
    return Sent(files, kept)


def _send_missing(
    hub: HubRepository, local: Mapping[str, LocalFile], remote: Mapping[str, Any], earlier: Mapping[str, str]
) -> int:
    """Commit what differs. How many files were sent. earlier: what the sums there name."""
    missing = [name for name in local if not _same(local[name], remote.get(name))]
    # Nothing else is ours to delete.
    stale = [name for name in earlier if name in remote and name not in local]
    if not missing and not stale:
        return 0

    def adds(names: list[str]) -> dict[str, Path]:
        return {name: local[name].path for name in names}

    # The signature of the old bytes must not be there with new ones.
    vouching = [name for name in (MANIFEST, SUMS) if name in remote]
    claim = [CLAIM] if CLAIM in missing else []
    body = [name for name in missing if name not in (*LAST, CLAIM)]
    if stale or claim or (vouching and body):
        hub.commit("Begin a new revision", adds(claim), [*vouching, *stale])
    size = max(AT_ONCE, -(-len(body) // MOST_COMMITS))
    for start in range(0, len(body), size):
        hub.commit(
            f"Shards, part {start // size + 1} of {-(-len(body) // size)}", adds(body[start : start + size])
        )
    last = [name for name in LAST if name in missing or name in vouching]
    hub.commit("Card and sums", adds(last))
    return len(claim) + len(body) + len(last)


def _refuse_strangers(hub: HubRepository, remote: Mapping[str, Any], folder: Path) -> None:
    """RequestError unless the repository has the claim of `folder`, or nothing but bytes of that publication."""
    if CLAIM in remote:
        if (folder / CLAIM).is_file():
            had, wanted = (
                _read_claim(hub.place, data) for data in (hub.load(CLAIM), (folder / CLAIM).read_bytes())
            )
            refuse_difference(str(hub.place), had, wanted)
        return
    local = names_of(folder)
    strangers = (
        name
        for name, entry in sorted(remote.items())
        if name not in HUBS_OWN and not (name in local and _same(digest_file(folder / name), entry))
    )
    if stranger := next(strangers, None):
        raise RequestError(
            f"{hub.place} must be empty or hold this publication; it holds {stranger}; use another repository, "
            "or a new branch with --revision"
        )


def _read_claim(place: Repository, data: bytes) -> Mapping[str, Any]:
    try:
        claim = json.loads(data)
    except ValueError:
        claim = None
    if not isinstance(claim, dict):
        raise RequestError(f"{place}: {CLAIM} there must be a JSON object of t2i-shards; use another repository")
    return claim


def _keep_edited(
    hub: HubRepository, remote: Mapping[str, Any], folder: Path, earlier: Mapping[str, str], path: str
) -> bool:
    """Take the file over that was edited there. Whether it was.

    earlier: what the sums there name, the digest of a card that has no seal yet among them.
    """
    if path not in remote or CLAIM not in remote or not (folder / path).is_file():
        return False
    theirs, ours = hub.load(path), (folder / path).read_bytes()
    if theirs == ours:
        return not is_sealed(ours)
    if is_sealed(theirs) or earlier.get(path) == hashlib.sha256(theirs).hexdigest():
        return False
    kept = keep_edits(f"{hub.place}/{path}", theirs, ours)
    sums = read_sums((folder / SUMS).read_bytes())
    store = FolderStore(folder)
    store.discard(SUMS)
    replace_draft(store, path, kept)
    store.create_bytes(SUMS, sum_lines({name: digest for name, digest in sums.items() if name != path}))
    return True


def refuse_beyond_limits(names: Collection[str]) -> None:
    """RequestError when a folder would hold more than the Hub takes."""
    folders = {name.rpartition("/")[0] for name in names}
    entries = Counter(path.rpartition("/")[0] for path in {*names, *folders} if path)
    ((folder, count),) = entries.most_common(1)
    if count > MOST_ENTRIES:
        raise RequestError(
            f"a folder on the Hub holds at most {MOST_ENTRIES} files, and {folder or 'the first'} would hold "
            f"{count}; publish with --layout packed and a larger --shard-size, or, where an earlier version began "
            "it, with an empty --staging"
        )


def names_of(folder: Path) -> list[str]:
    """Every file of the publication, also those that are in no sums; none when it is not whole."""
    if not (folder / SUMS).is_file():
        return []
    edited = [path for path in EDITABLE if (folder / path).is_file()]
    return sorted({*read_sums((folder / SUMS).read_bytes()), SUMS, *edited})


def digest_file(path: Path) -> LocalFile:
    """A file with its digests."""
    data = map_file(path)
    blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    blob.update(data)
    return LocalFile(path, hashlib.sha256(data).hexdigest(), blob.hexdigest())


def _same(local: LocalFile, remote: Any) -> bool:
    """Whether the Hub has these bytes: by their sha256 where it keeps a file apart, else by git's own digest."""
    if remote is None:
        return False
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == local.sha256)
    return bool(remote.blob_id == local.blob)
