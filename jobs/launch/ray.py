"""Workers on a Ray cluster, or the Ray of this machine, by Ray Train."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.jobs.launch.rendezvous import LOOPBACK, describe_world, find_interface, open_tcp_store
from t2i_shards.jobs.launch.restarts import WorkerDied, absolute_config, judge, refuse_more_than, work
from t2i_shards.pipeline.errors import describe_error


def prepare_on_ray(config: TrainConfig, workers: int) -> TrainConfig:
    """The same for workers anywhere in the cluster. RequestError where its nodes could not hold them all.

    Asked once, before the first attempt: a node that is lost later may come back, and is waited for.
    """
    import ray

    from t2i_shards.extractors.base import Resources
    from t2i_shards.pipeline.engine.connect import connect
    from t2i_shards.pipeline.engine.nodes import cluster_resources, count_node_slots

    connect()
    gpus = 0 if config.compute.device == "cpu" else int(cluster_resources().get("GPU", 0))
    gpu = gpus > 0 or config.compute.device == "cuda"
    needs = Resources(cpus=1, gpus=1 if gpu else 0)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    refuse_more_than(sum(count_node_slots(node, needs) for node in nodes), workers, gpu, "this cluster")
    return absolute_config(config, gpu)


def train_on_ray(config: TrainConfig, workers: int) -> TrainSummary:
    """An attempt; see `Attempt`."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from t2i_shards.jobs.launch.ray_backend import SharedGpus

    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            partial(_work_there, config),  # type: ignore[arg-type]
            torch_config=SharedGpus(),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=config.compute.device == "cuda"),
            # Ray keeps nothing of the training there: checkpoints are in RUN.
            run_config=RunConfig(name="train", storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        )
        return fit_in_thread(trainer)


def _work_there(config: TrainConfig) -> TrainSummary:
    with rendezvous():
        return work(config)


@contextmanager
def rendezvous() -> Iterator[None]:
    """In a worker of Ray Train: the world that torch.distributed then joins, for the length of the block.

    Workers of one machine meet on its loopback; those of several, at the addresses that their nodes have in Ray's
    cluster, and at no other.
    """
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero
    from ray.util import get_node_ip_address

    here = get_context()
    rank, workers = here.get_world_rank(), here.get_world_size()
    local = here.get_local_rank(), here.get_local_world_size()
    own = LOOPBACK if local[1] == workers else get_node_ip_address()
    with ExitStack() as stack:
        place = (own, stack.enter_context(open_tcp_store(own))) if rank == 0 else None
        address, port = broadcast_from_rank_zero(place)
        os.environ |= describe_world(rank, workers, address, port, local, find_interface(own))
        yield


def fit_in_thread(trainer: Any) -> TrainSummary:
    """What `trainer.fit()` returns. Raises WorkerDied where workers, or what coordinates them, are gone."""
    from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, WorkerCrashedError
    from ray.train import TrainingFailedError, WorkerGroupError

    results: list[Any] = []

    def fit() -> None:
        try:
            results.append(trainer.fit().return_value)
        except Exception as error:
            results.append(error)

    # In the main thread Ray would take over Control-C, and not give it back.
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    thread.join()
    (result,) = results
    if isinstance(result, WorkerGroupError):
        raise judge({rank: _name_end(end) for rank, end in result.worker_failures.items()})
    gone = ActorDiedError, NodeDiedError, OutOfMemoryError, WorkerCrashedError
    if isinstance(result, (TrainingFailedError, *gone)):
        raise WorkerDied(describe_error(result))
    if isinstance(result, Exception):
        raise result
    summary: TrainSummary = result
    return summary


def _name_end(error: Exception) -> Exception:
    """Ray reports a worker that is gone by the health check that failed."""
    died = getattr(error, "health_check_failure", None)
    return error if died is None else WorkerDied(type(died).__name__)
