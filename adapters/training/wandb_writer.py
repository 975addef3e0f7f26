"""Weights & Biases, where a run asks for it: the log's numbers and the sample pictures."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.records import read_record
from t2i_shards.adapters.training.tensorboard import list_scalars
from t2i_shards.extractors.atomic import write_json
from t2i_shards.pipeline.errors import RequestError, describe_error
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.runlog import LogLine

NAME = "wandb.json"
"""Holds the id under which a run is continued."""
PROJECT = "t2i-shards"

log = logging.getLogger(__name__)


def import_wandb() -> Any:
    """The library, once its server has accepted the user's key. RequestError where one of them is missing."""
    # Else a crash of its library is reported to its makers.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError:
        raise RequestError("--report-to wandb needs wandb, which is not installed: pip install wandb") from None
    with _refusing():
        if wandb.setup(wandb.Settings(silent=True)).settings.mode == "online":
            wandb.login(verify=True)
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


class WandbWriter:
    """Sends what TensorBoard shows too, by step; where and whether at all is decided by wandb's own variables.

    Raises RequestError where wandb is not installed, or does not begin. After that nothing raises: the first
    failure is logged, and nothing more is sent.
    """

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        self._wandb = wandb = import_wandb()
        with _refusing():
            self._run: Any = wandb.init(
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
            self._run.define_metric("*", step_metric="step")

    def add(self, line: LogLine) -> None:
        """The numbers of one step."""
        self._try(lambda run: run.log({"step": line.step, **list_scalars(line)}))

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        """uint8 (H, W, 3): a sheet of sample pictures."""
        self._try(lambda run: run.log({"step": step, "samples": self._wandb.Image(picture)}))

    def close(self) -> None:
        """Send what is left."""
        self._try(lambda run: run.finish())

    def _try(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            log.warning("nothing more is sent to wandb: %s", describe_error(error))


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
