from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.training import loader
from t2i_shards.adapters.training.batch import Batch
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.example import CropConfig, draw_edge
from t2i_shards.adapters.training.loader import (
    ErrorForwarding,
    MicroBatches,
    RankBatch,
    load_batches,
    raise_forwarded,
)
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import Unreachable
from t2i_shards.pipeline.runlog import read_log
from t2i_shards.pipeline.stream import Lanes, Stream
from t2i_shards.pipeline.stream.lanes import LANE_SHARDS
from t2i_shards.pipeline.stream.order import BlockOrder, SampleIndices
from tests.adapters.toys import MemoryStream, toy_config, toy_sample, toy_stream
from tests.pipeline.stream.toys import MemoryShards

T = TypeVar("T")
CROP_CONFIG = CropConfig("sketch", size=64)
BATCH, STEPS = 8, 7


def _read(rank_batch: RankBatch, loaders: int, start: int, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """The micro-batches of a rank, taken from its loaders in turn as torch's DataLoader does."""
    streams = []
    count = STEPS - start
    for number in range(max(1, loaders)):
        info = SimpleNamespace(id=number, num_workers=loaders) if loaders else None
        monkeypatch.setattr(loader, "get_worker_info", lambda info=info: info)
        # Which loader it is is asked when the first is taken.
        streams.append(list(islice(iter(MicroBatches(toy_stream(), CROP_CONFIG, 0, rank_batch, start)), count)))
    steps = [streams[number % len(streams)][number // len(streams)] for number in range(count)]
    return [batch for step in steps for batch in step]


def _join(parts: list[list[Batch]], rank_batch: RankBatch) -> torch.Tensor:
    """The noises of the global batches one after the other: each visit has its own."""
    noises = []
    for step in range(len(parts[0]) // rank_batch.parts):
        for part in parts:
            noises += [batch.noises for batch in part[step * rank_batch.parts : (step + 1) * rank_batch.parts]]
    return torch.cat(noises)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("loaders", [0, 1, 2, 4])
@pytest.mark.parametrize("start", [0, 3])
def test_global_batches_are_the_same_in_every_world(
    ranks: int, loaders: int, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RankBatch(BATCH, BATCH)
    expected = _join([_read(whole, 0, 0, monkeypatch)], whole)[start * BATCH :]
    assert len(expected) > 12, "more than an epoch"
    for micro in {1, BATCH // ranks}:
        rank_batches = [RankBatch(BATCH, micro, rank, ranks) for rank in range(ranks)]
        parts = [_read(rank_batch, loaders, start, monkeypatch) for rank_batch in rank_batches]
        assert torch.equal(_join(parts, rank_batches[0]), expected)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_batch_has_one_threshold_in_every_world(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.CROP_CONFIG", replace(CROP_CONFIG, threshold="batch"))
    expected = [pytest.approx(draw_edge(0, step)) for step in range(2, STEPS)]
    assert len({draw_edge(0, step) for step in range(2, STEPS)}) > 1
    for micro, loaders in ((1, 0), (BATCH // ranks, 2)):
        for rank in range(ranks):
            rank_batch = RankBatch(BATCH, micro, rank, ranks)
            edges = torch.cat([batch.edges for batch in _read(rank_batch, loaders, 2, monkeypatch)])
            steps = edges.view(STEPS - 2, BATCH // ranks)
            assert (steps == steps[:, :1]).all()
            assert steps[:, 0].tolist() == expected


def test_a_share_is_cut_without_gap_or_overlap() -> None:
    for ranks, micro in ((1, 2), (2, 1), (2, 4), (4, 2)):
        rank_batches = [RankBatch(8, micro, rank, ranks) for rank in range(ranks)]
        for step in range(3):
            taken = [position for rank_batch in rank_batches for position in rank_batch.positions(step)]
            assert taken == list(range(step * 8, step * 8 + 8))


@pytest.mark.parametrize(("ranks", "loaders", "micro"), [(1, 0, 8), (2, 4, 1), (8, 4, 1), (4, 2, 2)])
def test_ranks_and_loaders_open_each_shard_once(
    ranks: int, loaders: int, micro: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch of 32 lanes; what is opened twice has the border of two lanes in it."""
    lanes = Lanes(8, 8, 4)
    counts = dict.fromkeys(range(len(lanes) * LANE_SHARDS), 4)
    monkeypatch.setattr(loader, "make_example", lambda *_: None)
    monkeypatch.setattr(loader, "stack_examples", lambda _: None)
    opened = 0
    for rank, number in product(range(ranks), range(max(1, loaders))):
        info = SimpleNamespace(id=number, num_workers=loaders) if loaders else None
        monkeypatch.setattr(loader, "get_worker_info", lambda info=info: info)
        shards = MemoryShards(counts)
        stream = Stream(shards, BlockOrder(0, SampleIndices(counts, frozenset()), lanes))  # type: ignore[arg-type]
        own = MicroBatches(stream, CROP_CONFIG, 0, RankBatch(8, micro, rank, ranks), 0)
        steps = sum(counts.values()) // 8 // max(1, loaders)
        for _ in islice(iter(own), steps * 3 // 4):  # before the next epoch's shards are opened ahead
            pass
        opened += len(shards.opened)
    assert 0.95 * len(counts) <= opened <= 1.05 * len(counts)


class Shaped(MemoryStream):
    """Asks for positions and makes their examples as it likes. Every third one belongs to a batch of one shape."""

    def take(self, positions: Iterable[int], make: Callable[..., T]) -> Iterator[tuple[int, T]]:
        asked = list(islice(positions, 6))
        made = {p: make(toy_sample(p, 128), 0, None if p % 3 else (128, 128)) for p in reversed(asked)}
        yield from ((position, made[position]) for position in asked)


def test_a_whole_picture_is_read_where_its_batch_has_one_shape() -> None:
    batches = iter(MicroBatches(Shaped([]), CROP_CONFIG, 0, RankBatch(1, 1), 0))
    sides = [next(batches)[0].pictures.shape[-1] for _ in range(6)]  # type: ignore[union-attr]
    assert sides == [128, 64, 64, 128, 64, 64]


@pytest.mark.soak
@pytest.mark.parametrize("loaders", [1, 2])
def test_loaders_change_no_bit(loaders: int, tiny: Base, tmp_path: Path) -> None:
    for number in (0, loaders):
        Training(toy_config(tmp_path / str(number), loaders=number), toy_stream(), tiny).run()
    runs = [tmp_path / "0", tmp_path / str(loaders)]
    adapters = [(run / "adapter" / WEIGHTS).read_bytes() for run in runs]
    assert adapters[0] == adapters[1]
    losses = [[line.loss for line in read_log(run / "log.jsonl")] for run in runs]
    assert losses[0] == losses[1]


@pytest.mark.soak
def test_a_process_of_its_own_reads_the_same() -> None:
    batches = MicroBatches(toy_stream(4), CROP_CONFIG, 0, RankBatch(2, 2), 1)
    world = World(torch.device("cpu"))
    apart = list(islice(load_batches(batches, 1, world), 3))
    here = list(islice(load_batches(batches, 0, world), 3))
    for one, other in zip(apart, here, strict=True):
        assert one.captions == other.captions
        assert torch.equal(one.pictures, other.pictures)  # type: ignore[arg-type]
        assert torch.equal(one.noises, other.noises)


class AwayFrom(MemoryStream):
    """A stream whose store is unreachable from the first position on."""

    def take(self, positions: Any, make: Any) -> Any:
        raise Unreachable("cannot read s3://b/a: tried 5 times in 28 s; the last error: reset")


def test_an_error_of_a_loader_is_one_line() -> None:
    batches = iter(ErrorForwarding(MicroBatches(AwayFrom([]), CROP_CONFIG, 0, RankBatch(2, 2), 0)))
    (forwarded,) = batches
    with pytest.raises(Unreachable, match=r"^cannot read s3://b/a: .* reset$"):
        list(raise_forwarded([pickle.loads(pickle.dumps(forwarded))]))  # noqa: S301  (as torch hands it over)


@pytest.mark.soak
@pytest.mark.parametrize("loaders", [0, 1, 2])
def test_whoever_reads_an_error_is_one_line(loaders: int) -> None:
    batches = MicroBatches(AwayFrom([]), CROP_CONFIG, 0, RankBatch(2, 2), 0)
    with pytest.raises(Unreachable, match=r"^cannot read s3://b/a: .* reset$"):
        next(load_batches(batches, loaders, World(torch.device("cpu"))))


def test_loaders_are_started_where_an_interrupt_does_not_reach_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    said: list[str] = []

    class Loader:
        def __init__(self, *_: Any, **__: Any) -> None:
            """Takes what a DataLoader takes."""

        def __iter__(self) -> Any:
            said.append(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout)
            return iter(())

    monkeypatch.setattr(loader, "DataLoader", Loader)
    load_batches(MicroBatches(toy_stream(), CROP_CONFIG, 0, RankBatch(1, 1), 0), 2, World(torch.device("cpu")))
    assert said == ["True\n"]
