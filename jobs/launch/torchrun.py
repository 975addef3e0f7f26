"""Workers on this machine, by the part of torch's launcher that starts processes and waits for them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM
from typing import Any

from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.jobs.launch.rendezvous import LOOPBACK, describe_world, open_tcp_store
from t2i_shards.jobs.launch.restarts import WorkerDied, absolute_config, judge, refuse_more_than, work
from t2i_shards.pipeline.errors import IncompleteError, RequestError

IMPORTED = (
    "t2i_shards.adapters.training.trainer",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "transformers.models.clip.modeling_clip",
)
"""What workers find imported, which takes seconds, each of them and after each death."""


def prepare_here(config: TrainConfig, workers: int) -> TrainConfig:
    """The same for processes of this machine. RequestError where it has GPUs, and not one for each."""
    import torch

    gpus = 0 if config.compute.device == "cpu" else torch.cuda.device_count()
    if gpus or config.compute.device == "cuda":
        refuse_more_than(gpus, workers, True, "this machine")
    return absolute_config(config, gpus > 0)


def train_here(config: TrainConfig, workers: int) -> TrainSummary:
    """An attempt; see `Attempt`."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, start_processes

    _silence("torch.distributed.elastic", "torch.multiprocessing")
    multiprocessing.set_forkserver_preload([*IMPORTED])
    with tempfile.TemporaryDirectory() as folder, _keep_handlers(), open_tcp_store(LOOPBACK) as port:
        try:
            started = start_processes(
                "train",
                _work_here,
                args=dict.fromkeys(range(workers), (config,)),
                envs={rank: describe_world(rank, workers, LOOPBACK, port) for rank in range(workers)},
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                start_method="forkserver",
            )
            try:
                result = started.wait(period=0.1)
            finally:
                started.close()
        except SignalException as error:
            raise KeyboardInterrupt from error
        assert result is not None
        if result.is_failed():
            raise judge({**read_deaths(result.failures), **read_ends(Path(folder))})
    summary: TrainSummary = result.return_values[0]
    return summary


def _work_here(config: TrainConfig) -> TrainSummary:
    """Work that ends with the command: forked from a server, a worker would outlive it and write on in RUN."""
    command = multiprocessing.parent_process()
    assert command is not None

    def follow() -> None:
        command.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    signal.signal(SIGINT, signal.SIG_DFL)  # Control-C reaches workers as well; the command reports it
    return work(config)


def _silence(*prefixes: str) -> None:
    """Deaths and signals are reported in the project's own lines, not the launcher's."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(prefixes):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _keep_handlers() -> Iterator[None]:
    """Restore the signal handlers, which the launcher replaces and does not restore."""
    kept = {number: signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGHUP, SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def read_ends(folder: Path) -> dict[int, Exception]:
    """What the workers raised, by rank: each has written the name of its error's class, and the error."""
    kinds = {kind.__name__: kind for kind in (RequestError, IncompleteError)}
    ends: dict[int, Exception] = {}
    for path in folder.glob("*/attempt_0/*/error.json"):
        name, _, line = json.loads(path.read_text())["message"]["message"].partition(": ")
        kind = kinds.get(name) or type(name, (Exception,), {})  # it is only reported
        ends[int(path.parent.name)] = kind(line)
    return ends


def read_deaths(failures: Mapping[int, Any]) -> dict[int, Exception]:
    """How the processes ended, by rank, whether or not they reported an error."""
    return {rank: WorkerDied(_name_end(failure.exitcode)) for rank, failure in failures.items()}


def _name_end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
