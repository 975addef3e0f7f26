"""Real processes that train together over gloo, forked from a server that has the libraries imported."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.distributed import World
from t2i_shards.jobs.launch.torchrun import IMPORTED
from tests.adapters.toys import toy_stream

Work = Callable[[World, Any], Any]


def run_ranks(ranks: int, work: Work, given: Any) -> list[Any]:
    """What `work(world, given)` returns on each rank of a world; an exception is returned as well."""
    multiprocessing.set_forkserver_preload([*IMPORTED])
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
        processes = [
            context.Process(target=_join, args=(rank, ranks, folder, pipe, work, given), daemon=True)
            for rank, (_, pipe) in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        results = [ours.recv() for ours, _ in pipes]
        for process in processes:
            process.join()
    return results


def _join(rank: int, ranks: int, folder: str, pipe: Connection, work: Work, given: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks))
    if ranks > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    try:
        pipe.send(work(World(torch.device("cpu"), rank, ranks), given))
    except Exception as error:
        pipe.send(error)
    finally:
        if ranks > 1:
            distributed.destroy_process_group()


def train_toy(world: World, config: TrainConfig) -> list[tuple[int, str]]:
    """(epoch, key) of each sample that this rank consumed, in order."""
    from t2i_shards.adapters.base import load_base
    from t2i_shards.adapters.training.trainer import Training

    stream = toy_stream()
    training = Training(config, stream, load_base("tiny"), world)
    training.run()
    return training.stream.handed_out  # type: ignore[attr-defined, no-any-return]


def train_apart(world: World, config: TrainConfig) -> list[tuple[int, str]]:
    """The same where the ranks see folders of their own."""
    return train_toy(world, replace(config, out=Path(config.out, str(world.rank))))


def broadcast_rank(world: World, given: None) -> Any:
    """What the first rank says."""
    return world.broadcast({"rank": world.rank, "wörter": ["é"]})


def train_spoiled(world: World, given: tuple[TrainConfig, str, int]) -> tuple[list[str], int]:
    """What a rank has after a training in which the last rank met a NaN at one step: a digest of the weights after
    each step, and how many steps it skipped. given: the config, "loss" or "gradients", the step from 1 on."""
    from t2i_shards.adapters.base import digest_networks, load_base
    from t2i_shards.adapters.training.loss import Objective
    from t2i_shards.adapters.training.step import Step
    from t2i_shards.adapters.training.trainer import Training

    config, what, spoiled = given
    plain_step, plain_loss = Step.__call__, Objective.loss
    digests: list[str] = []
    skipped = []

    def step(self: Step, batches: Any) -> float:
        loss = plain_step(self, batches)
        digests.append(digest_networks({"adapter": training.adapter}))
        skipped.append(not self.taken)
        return loss

    def loss(self: Objective, adapter: Any, noisy: Any) -> torch.Tensor:
        found = plain_loss(self, adapter, noisy)
        if not found.requires_grad or world.rank < world.world_size - 1 or len(digests) != spoiled - 1:
            return found
        if what == "loss":
            return found * torch.nan
        found.register_hook(lambda gradient: gradient * torch.nan)
        return found

    Step.__call__, Objective.loss = step, loss  # type: ignore[method-assign]  # in this process alone
    training = Training(config, toy_stream(), load_base("tiny"), world)
    summary = training.run()
    assert summary.skipped == sum(skipped)
    return digests, summary.skipped
