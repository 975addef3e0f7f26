"""A run on disk: what it was asked for, where it stands, and folders that appear whole or not at all.

RUN/run.json               what decides the result: another command is refused
RUN/checkpoints/000100/    adapter/ (as diffusers reads it), optimizer.safetensors, state.json; the newest two
RUN/log.jsonl              a line per step
RUN/adapter/               the finished adapter
RUN/summary.json           the last to appear: the run is done
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adapters.adapter import Adapter
from adapters.export import load_adapter, save_adapter
from pipeline.errors import RequestError

KEPT = 2
"""Checkpoints that a run keeps: the newest, and the one before it."""


@dataclass(frozen=True)
class State:
    """Where a run stands. position: samples of the epoch that training has consumed, those held out included."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0


@contextmanager
def commit_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, which takes the final name once all in it is on the disk. Replaces an older one."""
    scratch = final.with_name(f".{final.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    for path in (scratch, *scratch.rglob("*")):
        _sync(path)
    if final.exists():
        replaced = _set_aside(final)
        scratch.rename(final)
        shutil.rmtree(replaced)
    else:
        scratch.rename(final)
    _sync(final.parent)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Atomic, like `commit_folder`, for one file."""
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(json.dumps(record, indent=2) + "\n")
    _sync(scratch)
    scratch.rename(path)
    _sync(path.parent)


def claim_run(run: Path, identity: Mapping[str, Any]) -> None:
    """Begin the run, or make sure that it is the same one. RequestError names the first difference."""
    record = run / "run.json"
    if not record.exists():
        run.mkdir(parents=True, exist_ok=True)
        write_json(record, identity)
        return
    begun = json.loads(record.read_text())
    for name, new in identity.items():
        old = begun.get(name)
        if old != new:
            raise RequestError(
                f"{run} was begun with {name} {old}, and this command asks for {new}: "
                f"keep it as it was, or give another --out"
            )


def save_checkpoint(run: Path, state: State, adapter: Adapter, optimizer: torch.optim.Optimizer) -> None:
    """Commit a checkpoint, and then remove all but the newest `KEPT`."""
    with commit_folder(run / "checkpoints" / f"{state.step:06d}") as folder:
        (folder / "adapter").mkdir()
        save_adapter(adapter, folder / "adapter")
        moments = {
            f"{parameter}.{name}": value
            for parameter, entries in optimizer.state_dict()["state"].items()
            for name, value in entries.items()
        }
        save_file(moments, folder / "optimizer.safetensors")
        write_json(folder / "state.json", asdict(state))
    for folder in _checkpoints(run)[:-KEPT]:
        shutil.rmtree(folder)


def discard_checkpoints(run: Path) -> None:
    """Remove them all at once: a kill leaves all of them or none."""
    shutil.rmtree(_set_aside(run / "checkpoints"))


def resume(run: Path, adapter: Adapter, optimizer: torch.optim.Optimizer) -> State:
    """Fill adapter and optimizer from the newest checkpoint, if there is one."""
    checkpoints = _checkpoints(run)
    if not checkpoints:
        return State()
    folder = checkpoints[-1]
    load_adapter(adapter, folder / "adapter")
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        parameter, _, entry = name.partition(".")
        entries.setdefault(int(parameter), {})[entry] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    return State(**json.loads((folder / "state.json").read_text()))


def _checkpoints(run: Path) -> list[Path]:
    """Oldest first."""
    return sorted((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def _set_aside(folder: Path) -> Path:
    """Take a folder's name away, so that nobody sees it half removed. Where it is now."""
    aside = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
