"""A run on disk: what it was asked for, and its checkpoints.

RUN/run.json               what decides the result: another command is refused
RUN/checkpoints/000100/    adapter/ (as diffusers reads it), average/ (with --ema), optimizer.safetensors and
                           state.json; the newest ones
RUN/held_out.json          the samples that are not trained on
RUN/log.jsonl              a line per step
RUN/adapter/               the finished adapter
RUN/summary.json           the last to appear: the run is done
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adapters.adapter import Adapter
from adapters.export import load_adapter, save_adapter
from extractors.atomic import commit_folder, remove_folder, write_json
from extractors.regular import read_regular
from pipeline.errors import RequestError

RECORD = "run.json"
REPLACED = ("adapter", "log.jsonl", "summary.json")
"""What a training makes anew, whatever is there."""


@dataclass(frozen=True)
class State:
    """Where a run stands.

    epoch, position: the next sample that training will consume, of those that are not held out. scaler: of the
    gradients' scale with --precision fp16, else empty.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    scaler: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Learner:
    """All that learns. average: the moving average of the adapter, if one is kept."""

    adapter: Adapter
    optimizer: torch.optim.Optimizer
    average: Adapter | None = None

    @property
    def folders(self) -> dict[str, Adapter]:
        """The adapters, by the name of their folder in a checkpoint."""
        adapters = {"adapter": self.adapter, "average": self.average}
        return {name: adapter for name, adapter in adapters.items() if adapter is not None}


def claim_run(run: Path, identity: Mapping[str, Any]) -> None:
    """Begin the run, or make sure that it is the same one. RequestError names the first difference."""
    record = run / RECORD
    if not record.exists():
        for name in REPLACED:
            if os.path.lexists(run / name):
                raise RequestError(
                    f"--out must be a new folder or one of a training, and {run} holds {name} but no {RECORD}: "
                    "give another --out"
                )
        write_json(record, identity)
        return
    begun = json.loads(read_regular(record))
    for name, new in identity.items():
        old = begun.get(name)
        if old != new:
            raise RequestError(
                f"{run} was begun with {name} {old}, and this command asks for {new}: "
                f"keep it as it was, or give another --out"
            )


def save_checkpoint(run: Path, state: State, learner: Learner, keep: int) -> None:
    """Commit a checkpoint, and then remove all but the newest `keep`."""
    with commit_folder(_folder_of(run, state.step)) as folder:
        for name, adapter in learner.folders.items():
            (folder / name).mkdir()
            save_adapter(adapter, folder / name)
        moments = {
            f"{parameter}.{name}": value
            for parameter, entries in learner.optimizer.state_dict()["state"].items()
            for name, value in entries.items()
        }
        save_file(moments, folder / "optimizer.safetensors")
        write_json(folder / "state.json", asdict(state))
    for folder in _checkpoints(run)[:-keep]:
        shutil.rmtree(folder)


def discard_checkpoints(run: Path) -> None:
    """Remove them all at once: a kill leaves all of them or none."""
    remove_folder(run / "checkpoints")


def newest_step(run: Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    return max((int(folder.name) for folder in _checkpoints(run)), default=0)


def resume(run: Path, learner: Learner, step: int) -> State:
    """Fill what learns from the checkpoint of `step`, which the first worker has found to be the newest.

    RequestError where another worker does not see it.
    """
    if not step:
        return State()
    folder = _folder_of(run, step)
    if not folder.exists():
        raise RequestError(f"--out must be a folder that all workers see, and one of them finds no {folder}")
    for name, adapter in learner.folders.items():
        load_adapter(adapter, folder / name)
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        parameter, _, entry = name.partition(".")
        entries.setdefault(int(parameter), {})[entry] = value
    learner.optimizer.load_state_dict({**learner.optimizer.state_dict(), "state": entries})
    return State(**json.loads(read_regular(folder / "state.json")))


def _folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"{step:06d}"


def _checkpoints(run: Path) -> list[Path]:
    """Oldest first."""
    return sorted((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
