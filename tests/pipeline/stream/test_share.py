"""Every sample once, whatever the numbers of ranks and of a DataLoader's workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, IterableDataset

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import open_stream
from t2i_shards.pipeline.stream.share import own_positions
from tests.pipeline.stream.test_mixture import mixture
from tests.pipeline.stream.toys import memory_stream

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("start", "stop"), [(0, 40), (40, 80), (47, 80), (80, 80), (3, 5)])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_are_all_and_do_not_overlap(start: int, stop: int, batch: int, parts: int) -> None:
    found = [list(own_positions(start, stop, batch, part, parts)) for part in range(parts)]
    assert sorted(position for part in found for position in part) == list(range(start, stop))
    assert all(part == sorted(part) for part in found)
    batches = [{position // batch for position in part} for part in found]
    assert sum(map(len, batches)) == len(set().union(*batches)), "no batch is divided"
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


class Epoch(IterableDataset[Sample]):
    """As others wrap a stream."""

    def __init__(self, root: Path, rank: int = 0, ranks: int | None = None) -> None:
        self.stream = open_stream(str(root), ["toy"])
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[Sample]:
        return self.stream.samples(1, rank=self.rank, ranks=self.ranks)


def load(dataset: Epoch, workers: int) -> list[Sample]:
    return list(DataLoader(dataset, batch_size=None, num_workers=workers, multiprocessing_context="fork"))


@pytest.mark.soak
def test_a_dataloader_gives_each_once(root: Path) -> None:
    """They come through the queue of another process, so nothing in them may be bound to the one that read it."""
    alone = sorted(Epoch(root), key=lambda sample: sample.key)
    assert len(alone) == 67
    assert sorted(load(Epoch(root), 2), key=lambda sample: sample.key) == alone
    ranks = [load(Epoch(root, rank, 2), 2) for rank in range(2)]
    assert sorted((s for of_rank in ranks for s in of_rank), key=lambda sample: sample.key) == alone


def test_one_of_several_ranks_must_say_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for stream in (memory_stream(), mixture()):
        with pytest.raises(RequestError, match=r"one of 4 processes.*samples\(epoch, rank=RANK, ranks=4\)"):
            stream.samples(0)
        whole = [sample.key for sample in stream.samples(0, ranks=1)]
        parts = [[s.key for s in stream.samples(0, rank=rank, ranks=4)] for rank in range(4)]
        assert [part[0] for part in parts] == whole[:4]
        assert sorted(key for part in parts for key in part) == sorted(whole)
    with pytest.raises(RequestError, match="rank must be one of 0 to 3, not 4"):
        memory_stream().samples(0, rank=4, ranks=4)


@pytest.mark.soak
def test_under_accelerate_each_sample_comes_once_or_it_is_refused(root: Path, tmp_path: Path) -> None:
    script = ["-m", "tests.pipeline.stream.accelerate_reader", os.fspath(root), os.fspath(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script],
        cwd=CHECKOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for of_rank in said:
        assert of_rank["ranks"] == 2
        assert of_rank["refused"].startswith("this is one of 2 processes, and samples() needs to know")
        assert "rank=accelerator.process_index, ranks=accelerator.num_processes" in of_rank["refused"]
    for way in ("own", "dispatched", "divided"):
        assert all(len(of_rank[way]) == 34 for of_rank in said), way
        assert sorted(said[0][way] + said[1][way]) == list(range(68)), way


def test_torch_knows_of_ranks_without_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(RequestError, match="one of 2 processes"):
        memory_stream().samples(0)
