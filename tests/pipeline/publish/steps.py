"""`python -m tests.pipeline.publish.steps URL LOCAL pack|columns|purge [calls]`: a death at each step, in turn.

As tests/faults/commit_steps.py does it for an ingest: a forked child works at a fresh place and kills itself
there. Then it is checked whether what is left is taken for a publication, and the same work is done to its end.
One JSON line per step: {"step": ..., "half": bool, "mixed": bool, "same": bool}; the last, with step null, was not
disturbed.
With `calls`, a step is a call that makes or removes a file; without, the middle of a write too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

# What would be imported in each child anew.
import pandas  # noqa: F401
import pyarrow.dataset  # noqa: F401
import s3fs  # noqa: F401

import t2i_shards.pipeline.publish.finish
import t2i_shards.pipeline.publish.read_columns
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published, read_manifest
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.stream import open_stream
from tests.faults.commit_steps import Steps, in_child
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

MOST = 80
"""Steps of a purge at most: so many places are made before the samples are removed."""


def work(root: str, to: str, what: str) -> None:
    """Two shards, packed; or one of each of two columns."""
    if what == "columns":
        publish_here(Dataset.open(root), to, layout="columns")
    else:
        publish_here(Dataset.open(root), to, what == "purge", shard_size=2)


def inside_packing(steps: Steps) -> None:
    """A step in the middle of each write of a packed tar; there are many, for they are small."""
    write: Callable[..., None] = t2i_shards.pipeline.publish.read_columns.write_all

    def write_half(file: int, parts: Sequence[bytes | memoryview]) -> None:
        data = b"".join(parts)
        write(file, [data[: len(data) // 2]])
        steps("inside a write of a tar")
        write(file, [data[len(data) // 2 :]])

    t2i_shards.pipeline.publish.read_columns.write_all = write_half
    t2i_shards.pipeline.publish.read_columns.CHUNK = 2048


def die_at(root: str, to: str, number: int, report: Path, what: str, calls: bool) -> bool:
    """The work, with death at step `number`. True when it ended before that."""

    def act() -> None:
        steps = Steps(number, report)
        if "://" in to:
            steps.after_s3()
        else:
            for name in ("link", "unlink"):
                steps.before(os, name)
            if not calls:
                steps.inside_writes()
                inside_packing(steps)
        work(root, to, what)

    return in_child(act)


def read(store: Store, names: list[str]) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = dict.fromkeys(names)
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = bytes(store.load(name))
    return found


def keys_at(to: str, what: str) -> list[str]:
    """The keys of a publication. RequestError when there is no whole one."""
    if what == "columns":
        read_manifest(open_store(to))
        return sorted(sample.key for sample in open_stream(to, ("sketch",)).samples(0))
    return sorted(sample.key for sample in open_published(to).samples(0))


def examine(root: str, to: str, expected: dict[str, bytes | None], what: str) -> dict[str, bool]:
    """half: it does not pass for a publication. mixed: it does, and is neither the old nor the new one.

    same: the same work ended as undisturbed.
    """
    store, half, keys = open_store(to), False, list[str]()
    try:
        keys = keys_at(to, what)
    except (RequestError, DamagedShard):
        half = True
    old, new = [f"k{i:05d}" for i in range(4)], [f"k{i:05d}" for i in (0, 1, 3)]
    mixed = not half and keys not in ([old, new] if what == "purge" else [old])
    try:
        work(root, to, what)
        same = read(store, list(expected)) == expected
    except (RequestError, IncompleteError) as error:
        print(error, file=sys.stderr)
        same = False
    return {"half": half, "mixed": mixed, "same": same}


def main(base: str, local: Path, what: str, calls: bool) -> None:
    report, root, whole = local / "step", str(local / "root"), local / "undisturbed"
    t2i_shards.pipeline.publish.finish.SAMPLES = 1  # type: ignore[attr-defined]

    def prepare() -> None:
        dataset = toy_dataset(Path(root), 4, 4, color=False)
        if what == "purge":
            for place in (whole, *(f"{base}/{number}" for number in range(MOST))):
                work(root, str(place), "pack")
            remove(dataset, "keys", ["k00002"])
        work(root, str(whole), what)

    in_child(prepare)
    expected: dict[str, bytes | None] = {**contents(whole)}
    steps: list[str | None] = []
    while not steps or steps[-1] is not None:
        ended = die_at(root, f"{base}/{len(steps)}", len(steps) + 1, report, what, calls)
        steps.append(None if ended else report.read_text())

    def examine_all() -> None:
        for number, step in enumerate(steps):
            print(json.dumps({"step": step, **examine(root, f"{base}/{number}", expected, what)}), flush=True)

    in_child(examine_all)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], "calls" in sys.argv[4:])
