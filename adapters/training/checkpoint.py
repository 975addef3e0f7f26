"""A run on disk: what it was asked for, and its checkpoints.

RUN/run.json               what decides the result: another command is refused
RUN/checkpoints/000100/    adapter/ (as diffusers reads it), average/ (with --ema), optimizer.safetensors and
                           state.json; the newest ones, and the best of those that were validated
RUN/start/                 with --from: a copy of the adapter it began from, which is not read again
RUN/config.toml            the newest request, for --config
RUN/held_out.json          the samples that are not trained on
RUN/extents.json           how much of each dataset there was at the start, and what was removed since
RUN/log.jsonl              a line per step
RUN/adapter/               the finished adapter
RUN/summary.json           the last to appear: the run is done
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from t2i_shards.adapters.finite import find_not_finite, name_not_finite
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.diffusers_io import load_adapter, save_adapter
from t2i_shards.adapters.records import read_named_tensors, read_record
from t2i_shards.extractors.atomic import commit_folder, remove_folder, write_json
from t2i_shards.extractors.records import Count
from t2i_shards.extractors.weights.checkpoints import save_tensors
from t2i_shards.pipeline.errors import IncompleteError, RequestError

MOMENTS = {"exp_avg", "exp_avg_sq", "step"}
"""What Adam keeps of a parameter."""
SMALLEST, LARGEST = 2.0**-126, 2.0**127
"""Of a float32 that is neither subnormal nor overflows when it is doubled."""
TRACKER = "_growth_tracker"
SCALER: Mapping[str, tuple[type, ...]] = {
    "scale": (float, int),
    "growth_factor": (float, int),
    "backoff_factor": (float, int),
    "growth_interval": (int,),
    TRACKER: (int,),
}
"""The entries of a GradScaler's state, and their types in JSON; all but the last are above 0."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainProgress:
    """How far a run has come.

    epoch, position: the next sample that training will consume, of those that are not held out. scaler: of the
    gradients' scale with --precision fp16, else empty. loss: of this step; None before the first, and where it was
    not finite. skipped: steps so far that were not taken for that. in_a_row: how many of them were the last ones.
    """

    step: Count = 0
    epoch: Count = 0
    position: Count = 0
    seconds: float = 0.0
    scaler: Mapping[str, Any] = field(default_factory=dict)
    loss: float | None = None
    skipped: Count = 0
    in_a_row: Count = 0


@dataclass(frozen=True)
class TrainState:
    """All that learns. ema: the moving average of the adapter, if one is kept."""

    adapter: Adapter
    optimizer: torch.optim.Optimizer
    ema: Adapter | None = None

    @property
    def result(self) -> Adapter:
        """What is validated and exported."""
        return self.adapter if self.ema is None else self.ema

    @property
    def folders(self) -> dict[str, Adapter]:
        """The adapters, by the name of their folder in a checkpoint."""
        adapters = {"adapter": self.adapter, "average": self.ema}
        return {name: adapter for name, adapter in adapters.items() if adapter is not None}


def save_checkpoint(
    run: Path, progress: TrainProgress, train_state: TrainState, keep: int, best: int | None = None
) -> None:
    """Commit a checkpoint, and then remove all but the newest `keep` and that of step `best`.

    Raises IncompleteError, and leaves all as it was, where something that learns is not finite.
    """
    with commit_folder(_folder_of(run, progress.step)) as folder:
        for name, adapter in train_state.folders.items():
            (folder / name).mkdir()
            save_adapter(adapter, folder / name)
        moments = {
            f"{parameter}.{name}": value
            for parameter, entries in train_state.optimizer.state_dict()["state"].items()
            for name, value in entries.items()
        }
        if broken := name_not_finite(moments):
            raise IncompleteError(f"the optimizer holds numbers that are not finite ({broken}), and is not kept")
        save_tensors(moments, folder / "optimizer.safetensors")
        write_json(folder / "state.json", asdict(progress))
    for folder in _checkpoints(run)[:-keep]:
        if int(folder.name) != best:
            shutil.rmtree(folder)


def discard_not_finite(run: Path) -> None:
    """Remove the newest checkpoints while they hold numbers that are not finite: older versions left such."""
    for folder in reversed(_checkpoints(run)):
        try:
            name = find_not_finite(folder)
        except RequestError as error:
            raise _name_way_out(error, folder) from None
        if name is None:
            return
        log.warning("%s holds numbers that are not finite (%s), and is removed", folder, name)
        shutil.rmtree(folder)


def discard_checkpoints(run: Path) -> None:
    """Remove them all at once: a kill leaves all of them or none."""
    remove_folder(run / "checkpoints")


def newest_step(run: Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    return max(list_steps(run), default=0)


def list_steps(run: Path) -> list[int]:
    """Of the checkpoints, in ascending order."""
    return [int(folder.name) for folder in _checkpoints(run)]


def name_checkpoint(run: Path, step: int, ema: bool) -> Path:
    """The adapter that would be exported at this step."""
    return _folder_of(run, step) / ("average" if ema else "adapter")


def resume(run: Path, train_state: TrainState, step: int) -> TrainProgress:
    """Fill what learns from the checkpoint of `step`, which the first worker has found to be the newest.

    RequestError where another worker does not see it, and for one that is damaged: without it, training resumes
    from the one before.
    """
    if not step:
        return TrainProgress()
    folder = _folder_of(run, step)
    if not folder.exists():
        raise RequestError(f"--out must be a folder that all workers see, and one of them finds no {folder}")
    try:
        return _read_checkpoint(folder, train_state, step)
    except (RequestError, FileNotFoundError) as error:
        raise _name_way_out(error, folder) from None


def _name_way_out(error: Exception, folder: Path) -> RequestError:
    return RequestError(f"{error}; delete {folder}, and the run continues from the one before it")


def _read_checkpoint(folder: Path, train_state: TrainState, step: int) -> TrainProgress:
    for name, adapter in train_state.folders.items():
        load_adapter(adapter, folder / name)
    moments = _read_moments(folder / "optimizer.safetensors", train_state.optimizer)
    train_state.optimizer.load_state_dict({**train_state.optimizer.state_dict(), "state": moments})
    progress = read_record(folder / "state.json", TrainProgress, closed=True)
    _check_scaler(folder / "state.json", progress.scaler)
    if progress.step != step:
        raise RequestError(f"{folder / 'state.json'}: must be of step {step}, not {progress.step}")
    return progress


def _check_scaler(file: Path, scaler: Mapping[str, Any]) -> None:
    """RequestError unless it is empty or the state of torch's GradScaler."""
    wrong = {
        name: value
        for name, value in scaler.items()
        if type(value) not in SCALER.get(name, ()) or not (0 if name == TRACKER else SMALLEST) <= value < LARGEST
    }
    if wrong or (scaler and scaler.keys() != SCALER.keys()):
        raise RequestError(f"{file}: scaler must be what torch's GradScaler keeps, not {dict(scaler)!r:.200}")


def _read_moments(file: Path, optimizer: torch.optim.Optimizer) -> dict[int, dict[str, torch.Tensor]]:
    """number of a parameter -> what the optimizer keeps of it. Raises RequestError for what does not fit."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in read_named_tensors(file).items():
        number, _, entry = name.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise RequestError(f"{file}: {name} belongs to no parameter of this adapter")
        wanted = torch.Size([]) if entry == "step" else parameters[int(number)].shape
        if entry not in MOMENTS or value.shape != wanted or value.dtype != torch.float32:
            raise RequestError(
                f"{file}: {name} must be one of {', '.join(sorted(MOMENTS))} in float32 {tuple(wanted)}, not in "
                f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            )
        moments.setdefault(int(number), {})[entry] = value
    if len({frozenset(entries) for entries in moments.values()}) > 1:
        raise RequestError(f"{file}: some parameters lack what others have")
    return moments


def _folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"{step:06d}"


def _checkpoints(run: Path) -> list[Path]:
    """Oldest first. RequestError where their folder is a link, as in a run from somebody else."""
    folder = run / "checkpoints"
    if folder.is_symlink():
        raise RequestError(
            f"{folder} must be a folder, and is a link to {os.readlink(folder)}: none are made or removed "
            "there; for another disk, give an --out on it"
        )
    return sorted(
        (path for path in folder.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name)
    )
