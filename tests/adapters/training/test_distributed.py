from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.distributed import World, join_world, share_threads
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import read_log
from tests.adapters.ranks import broadcast_rank, run_ranks, train_apart, train_spoiled, train_toy
from tests.adapters.toys import toy_config, toy_stream

BATCH = 4
Visits = Sequence[tuple[int, str]]


def _config(out: Path, steps: int = 6) -> TrainConfig:
    return toy_config(out, batch=BATCH, steps=steps)


@pytest.fixture(scope="module")
def alone(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Visits]:
    """A run of one worker, and what it consumed: 24 samples of 10, so two epochs and a part."""
    out = tmp_path_factory.mktemp("alone")
    training = Training(_config(out), toy_stream(), tiny)
    training.run()
    return out, training.stream.handed_out  # type: ignore[attr-defined]


def _join(parts: Sequence[Visits]) -> Visits:
    """The global batches, from what each rank consumed."""
    rank_batch = BATCH // len(parts)
    joined: list[tuple[int, str]] = []
    for first in range(0, len(parts[0]), rank_batch):
        for part in parts:
            joined += part[first : first + rank_batch]
    return joined


def _assert_close(run: Path, other: Path) -> None:
    losses, expected = ([line.loss for line in read_log(r / "log.jsonl")][1:] for r in (run, other))
    assert losses == pytest.approx(expected, abs=1e-5)
    weights, expected_weights = (load_file(r / "adapter" / WEIGHTS) for r in (run, other))
    assert weights.keys() == expected_weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected_weights[name], rtol=0, atol=1e-5)


@pytest.mark.soak
def test_two_ranks_equal_one(alone: tuple[Path, Visits], tmp_path: Path) -> None:
    parts = run_ranks(2, train_toy, _config(tmp_path))
    assert all(len(part) == 12 for part in parts)
    assert _join(parts) == alone[1]
    _assert_close(tmp_path, alone[0])


@pytest.mark.soak
def test_a_run_resumes_with_another_number_of_ranks(
    alone: tuple[Path, Visits], tiny: Base, tmp_path: Path
) -> None:
    """1, then 2, then 1; the part of 2 ends in the midst of an epoch."""
    visits: list[tuple[int, str]] = []
    for ranks, steps in ((1, 2), (2, 4), (1, 6)):
        if ranks == 1:
            training = Training(_config(tmp_path, steps), toy_stream(), tiny)
            training.run()
            visits += training.stream.handed_out  # type: ignore[attr-defined]
        else:
            visits += _join(run_ranks(ranks, train_toy, _config(tmp_path, steps)))
    assert visits == alone[1]
    _assert_close(tmp_path, alone[0])


@pytest.mark.parametrize("what", ["loss", "gradients"])
def test_all_ranks_skip_the_step_in_which_one_meets_a_nan_and_stay_equal(what: str, tmp_path: Path) -> None:
    first, second = run_ranks(2, train_spoiled, (_config(tmp_path, steps=4), what, 3))
    assert first == second
    digests, skipped = first
    assert skipped == 1
    assert len(set(digests)) == 3
    assert digests[2] == digests[1], "the weights stay as they were"


@pytest.mark.soak
def test_three_ranks_that_stopped_end_with_the_same_bits(tmp_path: Path) -> None:
    """With three, the order in which gradients are added up shows in the last bit."""
    for out, stops in (("straight", (3,)), ("stopped", (1, 3))):
        for steps in stops:
            config = toy_config(tmp_path / out, batch=3, steps=steps, adapter="small", checkpoint_every=1)
            assert all(len(part) > 0 for part in run_ranks(3, train_toy, config))
    weights = [(tmp_path / out / "adapter" / WEIGHTS).read_bytes() for out in ("straight", "stopped")]
    assert weights[0] == weights[1]


def test_a_folder_that_not_all_see_is_refused(tmp_path: Path) -> None:
    first, second = run_ranks(2, train_apart, _config(tmp_path))
    assert isinstance(first, RuntimeError), "the first cannot go on alone"
    assert isinstance(second, RequestError)
    line = f"--out must be a folder that all workers see, and worker 1 finds nothing in {tmp_path / '1'}"
    assert str(second).startswith(line)


def test_a_batch_that_the_ranks_cannot_share_is_refused(tiny: Base, tmp_path: Path) -> None:
    world = World(torch.device("cpu"), rank=1, world_size=3)
    with pytest.raises(RequestError, match="--batch must be a multiple of the 3 workers, not 4"):
        Training(_config(tmp_path), toy_stream(), tiny, world)
    assert not any(tmp_path.iterdir())


def test_all_ranks_get_what_the_first_sends() -> None:
    assert run_ranks(2, broadcast_rank, None) == [{"rank": 0, "wörter": ["é"]}] * 2
    assert World(torch.device("cpu")).broadcast({"a": None}) == {"a": None}


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="--device cuda needs a GPU"), join_world("cuda"):
        pass


def test_a_world_of_one_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world("cpu") as world:
        assert (world.rank, world.world_size, world.is_main) == (0, 1, True)
    assert not distributed.is_initialized()


def test_workers_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for workers, threads in (("1", 8), ("3", 2), ("16", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", workers)
        assert share_threads() == threads
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert share_threads() is None
