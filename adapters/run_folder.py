"""The folder of a training: which request it belongs to, which samples were held out, how it ended.

One process at a time trains a run.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from t2i_shards.adapters.records import read_record
from t2i_shards.extractors.atomic import create_file, write_json
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import HeldOut

SUMMARY = "summary.json"


@dataclass(frozen=True)
class TrainSummary:
    """A finished run. new_steps: those done by this call, 0 when there was nothing left to do.

    first_validation, last_validation: the validation loss before the first step and after the last. samples,
    seconds: of all calls together. wait: share of the time that this call waited for data.
    memory: the most bytes of the GPU that it held, None on the CPU. skipped: steps that were not taken because
    loss or gradients were not finite. best_step: of the checkpoint whose validation loss lies furthest under that
    with another sample's condition, of those that are kept and were validated.
    """

    steps: int
    new_steps: int
    samples: int
    seconds: float
    first_validation: float
    last_validation: float
    adapter: str
    base_digest: str
    wait: float = 0.0
    memory: int | None = None
    skipped: int = 0
    best_step: int | None = None


def read_summary(run: Path) -> TrainSummary | None:
    """The summary of a run that was finished, else None. Raises RequestError for a damaged one."""
    path = run / SUMMARY
    return read_record(path, TrainSummary, closed=True) if path.exists() else None


NAME = "held_out.json"


@dataclass(frozen=True)
class HeldOutRecord:
    """What held_out.json holds."""

    datasets: tuple[HeldOut, ...]


def write_held_out(run: Path, held_out: Sequence[HeldOut]) -> None:
    """One entry for each dataset of the training: its root, its pictures' digest, shard and key of each.

    Written once: a resumed run has the same.
    """
    if not (run / NAME).exists():
        write_json(run / NAME, {"datasets": [asdict(of_dataset) for of_dataset in held_out]})


def find_held_out(run: Path, dataset: Dataset) -> list[tuple[int, str]] | None:
    """(shard, key) of those of the dataset, whatever shards were added since; None if it was not trained on."""
    images = dataset.receipts(IMAGES)
    for segment in reversed(dataset.segments):
        known = read_held_out(run, images.within(0, segment.numbers.stop).digest)
        if known is not None:
            return known
    return None


def read_held_out(run: Path, data: str) -> list[tuple[int, str]] | None:
    """(shard, key) of those of the dataset whose pictures have this digest; None if it was not trained on.

    A dataset that was mixed with itself lacks what all its streams lack. Raises RequestError for a damaged file.
    """
    path = run / NAME
    datasets = read_record(path, HeldOutRecord).datasets if path.exists() else ()
    lacked = [of.samples for of in datasets if of.data == data]
    return [sample for sample in lacked[0] if all(sample in other for other in lacked)] if lacked else None


RECORD = "run.json"

START = "start"
"""Folder with a copy of the adapter that the run began from."""

REPLACED = ("adapter", START, "log.jsonl", "summary.json")
"""What a training always makes again."""


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
            raise RequestError(
                f"{run} was begun with {name} {str(old)[:200]}, and this command asks for {new}: "
                f"keep it as it was, or give another --out"
            )
    return True


LOCK_SECONDS, PAUSE = 5.0, 0.1
"""Seconds for which a run that another process holds is waited for, and between two tries."""

log = logging.getLogger(__name__)


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
