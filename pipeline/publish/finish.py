"""The end of a publication: indexes of the whole, card, reading back, and last the manifest and the sums."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from t2i_shards.pipeline.dataset.losses import Yield
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.assignment import Choice, Target
from t2i_shards.pipeline.publish.card import SAMPLES, draw_contact_sheet, licence_id, render_cards
from t2i_shards.pipeline.publish.croissant import FOLDER, describe, mark_path
from t2i_shards.pipeline.publish.edits import EDITABLE, is_sealed, keep_edits
from t2i_shards.pipeline.publish.facts import Facts, collect_facts
from t2i_shards.pipeline.publish.index import (
    Entry,
    energon_meta,
    read_dali_index,
    webshart_index,
    wids_index,
    write_energon_table,
)
from t2i_shards.pipeline.publish.manifest import Line, PackedShards, line_of
from t2i_shards.pipeline.publish.pack import data_path, index_paths, read_receipt, receipt_path
from t2i_shards.pipeline.publish.plan import CLAIM, Plan
from t2i_shards.pipeline.publish.readers import Reader, read_back
from t2i_shards.pipeline.publish.revision import REVISIONS, RemovedSamples, read_revisions
from t2i_shards.pipeline.publish.signature import (
    ShardFiles,
    check_shards,
    check_signature,
    hash_files,
    other_publisher,
    replace_draft,
    sign,
)
from t2i_shards.pipeline.publish.survey import SurveyResult
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import AT_ONCE, Store

SHEET, CROISSANT = "contact-sheet.jpg", "croissant.json"
MARK = b"The name of this folder tells the shards of this revision from others in the cache of mlcroissant.\n"
ENERGON_TABLE = ".nv-meta/index.sqlite"


@dataclass(frozen=True)
class Finished:
    """A whole publication. unchecked: readers that are not installed. kept: files that had been edited."""

    lines: tuple[Line, ...]
    unchecked: tuple[str, ...]
    kept: tuple[str, ...] = ()


def finish(
    plan: Plan,
    choice: Choice,
    removals: RemovedSamples,
    surveyed: Mapping[int, SurveyResult],
    readers: Mapping[str, Reader],
    found: Yield,
) -> Finished:
    """Describe the shards, all of which are done; read them back; then sign them.

    found: as `collect_facts` has it.
    Until SHA256SUMS is written the files that describe the whole are not signed, so they may still be replaced.
    Raises IncompleteError when a shard is not done, a reader does not see what was written, or another publisher
    has begun a later revision.
    """
    to = plan.to
    receipts = read_receipts(to, choice.targets)
    revisions = read_revisions(to)
    removed = {target: receipt.drops.get("removed", 0) for target, receipt in receipts.items()}
    if len(revisions) != removals.revision or any(n != len(removals.keys.get(t, ())) for t, n in removed.items()):
        raise other_publisher(to)
    members = plan.members(surveyed)
    held = {target: receipt for target, receipt in receipts.items() if receipt.samples}
    lines = [line_of(target, receipt, members) for target, receipt in held.items()]
    discard_empty(to, receipts)
    facts = collect_facts(plan, choice, surveyed, lines, revisions, found)
    files = _describe(to, facts)
    edited = find_edited(to, files)
    for path, data in edited.items():
        files[path] = keep_edits(f"{to.root}/{path}", data, files[path])
    _discard_old_marks(to, files)
    for path, data in files.items():
        replace_draft(to, path, data)
    files[ENERGON_TABLE] = _write_table(to, held)
    webshart = _write_webshart(to, held)
    unchecked = read_back(to, lines, readers)
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    sums |= hash_files(to, [CLAIM, *(f"{REVISIONS}/{name}" for name in to.names(REVISIONS))])

    def unchanged() -> bool:
        return read_revisions(to) == revisions and find_receipts(to, choice.targets) == receipts

    manifest = b"".join(line.encode() for line in lines)
    sums |= webshart
    for path in edited:
        del sums[path]  # which is its owner's from now on
    sign(to, manifest, {**sums, **sums_of_shards(to, receipts)}, unchanged)
    return Finished(tuple(lines), tuple(unchecked), tuple(edited))


def read_receipts(to: Store, targets: Sequence[Target]) -> dict[Target, Receipt]:
    """The receipts of all targets. Raises IncompleteError when one is missing."""
    receipts = find_receipts(to, targets)
    missing = [target.name for target in targets if target not in receipts]
    if missing:
        raise IncompleteError(
            f"not published yet: {number_of(len(missing), 'shard')}, the first {missing[0]}; run again"
        )
    return receipts


def find_receipts(to: Store, targets: Sequence[Target]) -> dict[Target, Receipt]:
    """The receipts of those targets that are done."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(lambda target: read_receipt(to, target), targets))
    return {target: receipt for target, receipt in zip(targets, found, strict=True) if receipt is not None}


def _describe(to: Store, facts: Facts) -> dict[str, bytes]:
    """Path -> bytes of what is written about the whole."""
    listed = {
        split: [(line.name, line.samples, line.bytes) for line in lines] for split, lines in facts.splits.items()
    }
    files = {f"wids-{split}.json": wids_index(split, shards) for split, shards in listed.items()}
    files |= energon_meta({split: [(name, count) for name, count, _ in s] for split, s in listed.items()})
    files[SHEET] = draw_contact_sheet(_first_samples(to, facts.lines))
    files[mark_path(facts)] = MARK
    licence = licence_id(facts)
    files[CROISSANT] = describe(
        facts, {"apache-2.0": "Apache-2.0", "other": "see README.md"}.get(licence, licence)
    )
    return {**files, **render_cards(facts)}


def webshart_path(name: str) -> str:
    """webshart/train-000012.json"""
    return f"webshart/{name}.json"


def _write_webshart(to: Store, receipts: Mapping[Target, Receipt]) -> dict[str, str]:
    """webshart's index of every shard, made of DALI's, in a folder of their own. Path -> sha256."""

    def write(target: Target) -> tuple[str, str]:
        entries = _load_entries(to, target)
        data = webshart_index(f"{target.name}.tar", entries, receipts[target].bytes)
        path = webshart_path(target.name)
        replace_draft(to, path, data)
        return path, hashlib.sha256(data).hexdigest()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(threads.map(write, receipts))


def _load_entries(to: Store, target: Target) -> list[Entry]:
    """Where the samples of a published shard lie, by DALI's index."""
    path, _ = index_paths(target)
    return read_dali_index(to.load(path), path)


def _first_samples(to: Store, lines: Sequence[Line]) -> list[Sample]:
    """The first samples of the first shard, verified."""
    return PackedShards(to, lines).open(0)[:SAMPLES]


def _write_table(to: Store, receipts: Mapping[Target, Receipt]) -> bytes:
    """Energon's table of all samples, made of the shards' indexes. Its bytes."""
    with to.scratch() as scratch:
        local: Path = scratch / "index.sqlite"

        def entries() -> Iterator[tuple[Sequence[Entry], int]]:
            # In the order of .info.json, whose names are sorted.
            for target in sorted(receipts, key=data_path):
                yield _load_entries(to, target), receipts[target].bytes

        write_energon_table(local, entries())
        data = local.read_bytes()
        replace_draft(to, ENERGON_TABLE, data)
    return data


def find_edited(to: Store, paths: Collection[str]) -> dict[str, bytes]:
    """Path -> bytes of those of these files that are there and may be edited, and were."""
    found = {}
    for path in EDITABLE:
        with suppress(FileNotFoundError):
            if path in paths and not is_sealed(data := bytes(to.load(path))):
                found[path] = data
    return found


def _discard_old_marks(to: Store, files: Mapping[str, bytes]) -> None:
    """Remove the marks of earlier revisions."""
    for name in to.names(FOLDER):
        if (path := f"{FOLDER}/{name}/mark.txt") not in files:
            to.discard(path)


def discard_empty(to: Store, receipts: Mapping[Target, Receipt]) -> None:
    """Remove the files that earlier versions or revisions left of shards without any sample."""
    for target, receipt in receipts.items():
        if not receipt.samples:
            for path in (webshart_path(target.name), *index_paths(target), data_path(target)):
                to.discard(path)


def sums_of_shards(to: Store, receipts: Mapping[Target, Receipt]) -> dict[str, str]:
    """Path -> sha256 of the shards, by their receipts, and of what belongs to them."""
    held = {target: receipt for target, receipt in receipts.items() if receipt.samples}
    small = [*map(receipt_path, receipts), *(path for target in held for path in index_paths(target))]
    return {**{data_path(target): receipt.sha256 for target, receipt in held.items()}, **hash_files(to, small)}


def check_packed(to: Store, targets: Sequence[Target]) -> bool:
    """Whether all shards are there and signed. What a listing shows to be damaged is deleted."""
    receipts = find_receipts(to, targets)
    held = {target: receipt for target, receipt in receipts.items() if receipt.samples}
    files = [ShardFiles(receipt_path(t), data_path(t), r.bytes, index_paths(t)) for t, r in held.items()]
    if not check_shards(to, files, len(targets) - (len(receipts) - len(held))):
        return False
    vouched = hash_files(to, [receipt_path(target) for target in receipts])
    return check_signature(to, {**vouched, **{data_path(t): r.sha256 for t, r in held.items()}})
