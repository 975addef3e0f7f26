"""Boards, which show the log's numbers and the sample pictures by step: RUN/tensorboard, and Weights & Biases."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil

from t2i_shards.adapters.records import read_record
from t2i_shards.adapters.training.config import RecordConfig
from t2i_shards.extractors.atomic import write_json
from t2i_shards.pipeline.errors import RequestError, describe_error
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.runlog import LogLine

FOLDER = "tensorboard"
NAME = "wandb.json"
"""Holds the id under which a run is continued."""
PROJECT = "t2i-shards"

log = logging.getLogger(__name__)


def check_boards(config: RecordConfig) -> None:
    """RequestError where a board that is asked for would not begin. Nothing is written in RUN."""
    if config.report_to != "wandb":
        return
    wandb = import_wandb()
    with _refusing():
        if wandb.setup(wandb.Settings(silent=True)).settings.mode == "online":
            wandb.login(verify=True)


class Board(ABC):
    """Shows a run. After `__init__` nothing raises: the first failure is logged and ends the board.

    All numbers are in the log anyway.
    """

    verb: ClassVar[str]
    """Completes the warning "nothing more is …"."""
    _client: Any = None

    @abstractmethod
    def add(self, line: LogLine) -> None:
        """The numbers of one step."""

    @abstractmethod
    def add_picture(self, picture: np.ndarray, step: int) -> None:
        """uint8 (H, W, 3): a sheet of sample pictures."""

    @abstractmethod
    def close(self) -> None:
        """Write or send what is left."""

    def _show(self, show: Callable[..., object]) -> None:
        if self._client is not None:
            self._try(lambda: show(self._client))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._client = None
            log.warning("nothing more is %s: %s", self.verb, describe_error(error))


def list_scalars(line: LogLine) -> dict[str, float]:
    """What of a line is shown as a curve, by title, and the memory of this process at this moment."""
    scalars = {
        "loss/step": line.loss,
        "loss/validation": line.validation,
        "loss/another picture's condition": line.mismatched,
        "learning rate": line.lr,
        "speed/samples per second": line.samples_per_s or None,
        "speed/seconds waiting for data": line.wait,
        "memory/GPU bytes": line.memory,
        "memory/process bytes": psutil.Process().memory_info().rss,
        **{f"obedience/{name}": value for name, value in (line.obedience or {}).items()},
    }
    return {name: value for name, value in scalars.items() if value is not None}


class TensorBoardWriter(Board):
    """What an earlier call wrote after `step` is marked as void."""

    verb = "written for TensorBoard"

    def __init__(self, run: Path, step: int) -> None:
        self._hook = threading.excepthook
        self._try(lambda: self._open(run, step))

    def add(self, line: LogLine) -> None:
        for name, value in list_scalars(line).items():
            self._show(lambda writer, name=name, value=value: writer.add_scalar(name, value, line.step))

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        self._show(lambda writer: writer.add_image("samples", picture, step, dataformats="HWC"))

    def close(self) -> None:
        self._show(lambda writer: writer.close())
        threading.excepthook = self._hook

    def _open(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        opened: Any = SummaryWriter
        threading.excepthook = self._end_thread
        self._client = opened(str(run / FOLDER), purge_step=step + 1 if step else None)

    def _end_thread(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's writing thread raises what the next write raises too: once is enough."""
        if not type(failure.thread).__module__.startswith("tensorboard."):
            self._hook(failure)


def import_wandb() -> Any:
    """The library. Raises RequestError where it is not installed."""
    # Else a crash of its library is reported to its makers.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError:
        raise RequestError("--report-to wandb needs wandb, which is not installed: pip install wandb") from None
    return wandb


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise RequestError(
            f"--report-to wandb does not begin: {describe_error(error)}; run `wandb login`, or set "
            "WANDB_MODE=offline to keep it in the run's folder"
        ) from None


class WandbWriter(Board):
    """Sends what TensorBoard shows too; where and whether at all is decided by wandb's own variables.

    Raises RequestError where wandb is not installed, or does not begin.
    """

    verb = "sent to wandb"

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        self._wandb = wandb = import_wandb()
        with _refusing():
            self._client = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", run.name),
                id=find_id(run),
                resume="allow",
                dir=str(run),
                config={name: _to_plain(value) for name, value in config.items()},
                settings=wandb.Settings(
                    console="off",
                    disable_git=True,
                    save_code=False,
                    x_disable_meta=True,  # else the command line is sent, with the secrets of its URLs
                    x_save_requirements=False,
                    silent=True,
                ),
            )
            # Its own steps may not go back, as those of a run do that continues from its last checkpoint.
            self._client.define_metric("*", step_metric="step")

    def add(self, line: LogLine) -> None:
        self._show(lambda run: run.log({"step": line.step, **list_scalars(line)}))

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        self._show(lambda run: run.log({"step": step, "samples": self._wandb.Image(picture)}))

    def close(self) -> None:
        self._show(lambda run: run.finish())


def _to_plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | None) else hide_secrets(str(value))


def find_id(run: Path) -> str:
    """The run's id at wandb, a new one where it has none."""
    path = run / NAME
    if path.exists():
        return str(read_record(path, dict[str, Any])["id"])
    new = secrets.token_hex(8)
    write_json(path, {"id": new})
    return new
