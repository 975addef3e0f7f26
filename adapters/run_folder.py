"""The folder of a training: which request it belongs to, and which process trains it, one at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from t2i_shards.adapters.records import read_record
from t2i_shards.extractors.atomic import create_file, write_json
from t2i_shards.pipeline.errors import RequestError

log = logging.getLogger(__name__)

RECORD = "run.json"

START = "start"
"""Folder with a copy of the adapter that the run began from."""

REPLACED = ("adapter", START, "log.jsonl", "summary.json")
"""What a training always makes again."""

DIGESTS = {
    "data": "other pictures, captions or conditions",
    "base": "a base of other weights",
    "live": "another extractor for --live, or without one",
}
"""What is recorded of a run as a digest or a recipe, which say nothing to a reader."""

LOCK_SECONDS, PAUSE = 5.0, 0.1
"""Seconds for which a run that another process holds is waited for, and between two tries."""


def read_begun(run: Path) -> Mapping[str, Any] | None:
    """What the run was begun with; None where none was begun. Raises RequestError."""
    record = run / RECORD
    return read_record(record, dict[str, Any]) if record.exists() else None


def claim_run(run: Path, identity: Mapping[str, Any]) -> None:
    """Begin the run, or make sure that it is the same one. RequestError names the first difference."""
    if check_run(run, identity):
        return
    try:
        with create_file(run / RECORD) as scratch:
            write_json(scratch, identity)
    except FileExistsError:  # another command was first
        check_run(run, identity)


def check_run(run: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the run was begun. Raises RequestError as `claim_run`."""
    begun = read_begun(run)
    if begun is None:
        for name in REPLACED:
            if os.path.lexists(run / name):
                raise RequestError(
                    f"--out must be a new folder or one of a training, and {run} holds {name} but no {RECORD}: "
                    "give another --out"
                )
        return False
    for name, new in identity.items():
        old = begun.get(name)
        if old != new:
            raise RequestError(f"{_tell_difference(run, name, old, new)}, or give another --out")
    return True


def _tell_difference(run: Path, name: str, old: Any, new: Any) -> str:
    if name in DIGESTS:
        return f"{run} was begun with {DIGESTS[name]}: name what it was begun with"
    if name != "from":
        return f"{run} was begun with {name} {old}, and this command asks for {new}: keep it as it was"
    if old is None:
        return f"{run} was begun without --from: leave it out"
    if new is None:
        return f"{run} was begun with --from, and its own copy, {run / START}, is missing: give --from again"
    keep = "leave --from out" if (run / START).exists() else "name that one"
    return f"{run} was begun with another adapter than --from names: {keep}"


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Be the only process that writes to a run which was begun. RequestError while another one is.

    The kernel takes the lock back from a process that dies.
    """
    with (run / RECORD).open("r+b") as record:  # writable: over NFS only such a file can be locked
        for tries in count(1):
            try:
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Workers that are just being ended may hold it for a moment.
                if tries * PAUSE > LOCK_SECONDS:
                    raise RequestError(
                        f"another train is running in {run}: wait until it ends, or give another --out"
                    ) from None
                time.sleep(PAUSE)
            except OSError as error:
                log.warning("%s cannot be locked, so see that no other train writes to it: %s", run, error)
                break
        yield
