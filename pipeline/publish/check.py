"""Verifying a publication: every file against its signature, and the manifest and the receipts against it too."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from t2i_shards.extractors.regular import NotRegular
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError
from t2i_shards.pipeline.publish.edits import EDITABLE
from t2i_shards.pipeline.publish.manifest import read_manifest
from t2i_shards.pipeline.publish.plan import CLAIM, MANIFEST, SUMS
from t2i_shards.pipeline.publish.signature import list_sizes, load_sums
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stages.stage import Stage, StageResult

AGAIN = "delete it and publish again"
ADDED = f"is not in {SUMS}, but readers take it for a shard; delete it, or publish again if it belongs here"
EDITED = "if you edited it, publish again, which keeps the edit; otherwise delete it first"


@dataclass
class VerifyFiles(Stage):
    """Stage: number of a group of files -> a line for each that is not as it was signed.

    groups: (path, sha256) of files that are read by one worker, such as a shard and what belongs to it.
    """

    store: Store
    groups: Sequence[Sequence[tuple[str, str]]]

    def __call__(self, shard: int) -> StageResult:
        return StageResult(
            {}, tuple(line for path, sha256 in self.groups[shard] for line in self._check(path, sha256))
        )

    def _check(self, path: str, sha256: str) -> list[str]:
        try:
            found = hashlib.sha256(self.store.load(path)).hexdigest()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return [f"{path}: is in {SUMS}, but the file is gone; publish again"]
        except NotRegular:
            return [f"{path}: must be a regular file; {AGAIN}"]
        if found != sha256:
            differs = f"must have sha256 {sha256[:12]}…, has {found[:12]}…"
            if path == CLAIM:
                return [tell_damage(path, differs)]
            return [f"{path}: {differs}; {EDITED if path in EDITABLE else AGAIN}"]
        return []


def is_publication(store: Store) -> bool:
    """Whether a publication was begun there."""
    return CLAIM in store.names("")


def plan_check(store: Store) -> VerifyFiles:
    """The stage that reads every signed file. Raises IncompleteError where nothing is signed, or not legibly."""
    sums = load_sums(store)
    if sums is None:
        raise IncompleteError(
            f"{store.root} is incomplete: {SUMS}, which is written last, is not there; publish again"
        )
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, sha256 in sums.items():
        groups[PurePosixPath(path).name.partition(".")[0]].append((path, sha256))
    return VerifyFiles(store, list(groups.values()))


def check_lists(store: Store) -> list[str]:
    """A line for each shard that is not signed or on which signature and manifest disagree; none is read."""
    sums = load_sums(store) or {}
    shards = {path for path in sums if path.endswith(".tar")}
    try:
        lines = read_manifest(store)
    except DamagedShard as error:
        return [str(error)]
    # What else people add is theirs: columns, removals, notes.
    added = {path for path in list_sizes(store, shards) if path.endswith(".tar")} - shards
    found = [f"{path}: {ADDED}" for path in sorted(added)]
    found += [
        f"{line.name}: {MANIFEST} and {SUMS} must have the same sha256, and have {line.sha256[:12]}… and "
        f"{sums.get(line.name, 'none')[:12]}…"
        for line in lines
        if sums.get(line.name) != line.sha256
    ]
    return found
