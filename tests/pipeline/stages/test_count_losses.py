"""Counting losses: as one pass over all tables would, without reading one in the process that asks."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.losses import Loss, Yield, host_of, read_losses
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes, rows_path
from t2i_shards.pipeline.dataset.plan import plan_path
from t2i_shards.pipeline.dataset.supplement import plan_new, plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.shards.commit import receipt_path
from t2i_shards.pipeline.stages import count_losses
from t2i_shards.pipeline.stages.count_losses import measure_yield
from t2i_shards.pipeline.stages.erase import begin_erasing, plan_erase
from t2i_shards.pipeline.stages.stage import Stage
from tests.faults.toys import make_images
from tests.pipeline.report.crawl import look_here
from tests.pipeline.web import Web, put_failure, put_picture

REASONS = ("timed out", "http 503", "http 404", "not a picture")


def recount(dataset: Dataset) -> tuple[int, dict[str, Loss]]:
    """(samples, key -> loss), with all rows in memory."""
    samples, lost = 0, dict[str, Loss]()
    for shard, table in read_outcomes(dataset, ("key", "status")):
        statuses = dict(zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True))
        samples += sum(status == OK for status in statuses.values())
        for row in dataset.plan(shard):
            lost.pop(row.key, None)
            if statuses[row.key] != OK:
                lost[row.key] = Loss(row.key, row.location, statuses[row.key])
    return samples, lost


def check(dataset: Dataset) -> Yield:
    """Measured and recounted are the same; the yield."""
    images = dataset.receipts(IMAGES)
    samples, lost = recount(dataset)
    assert {loss.key: loss for loss in read_losses(dataset, images)} == lost
    for hosts in (False, True):
        found = measure_yield(dataset, images, look_here, hosts)
        assert (found.planned, found.samples, found.problems) == (dataset.planned, samples, [])
        assert found.reasons == Counter(loss.reason for loss in lost.values())
        counted = Counter((host_of(loss.location), loss.reason) for loss in lost.values())
        assert not hosts or {(h, r): n for h, rs in found.hosts.items() for r, n in rs.items()} == counted
    return found


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_counted_by_their_last_try_whatever_was_tried_when(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_losses, "LEAST_SHARDS", 2)
    draw, root = random.Random(seed), str(tmp_path / "root")
    names = [f"{'abc'[i % 3]}-{i}" for i in range(30)]

    def answer(share: float) -> Web:
        for i, name in enumerate(names):
            if draw.random() < share:
                put_picture(tmp_path / "web", name, i)
            else:
                put_failure(tmp_path / "web", name, draw.choice((*REASONS[:2] * 4, *REASONS)))
        return Web(str(tmp_path / "web"), tuple(names))

    dataset = make_images(root, answer(0.2), 3)
    check(dataset)
    assert plan_retry(dataset)
    check(dataset)  # of which no shard was made
    make_images(root, answer(0.2), 3)
    names += [f"d-{i}" for i in range(30, 40)]
    assert plan_new(Dataset.open(root), answer(0.2))
    for _ in range(3):
        dataset = Dataset.open(root)
        make_images(root, Web(str(tmp_path / "web"), tuple(names[:30])), 3)
        assert plan_retry(dataset)
        answer(0.2)
    make_images(root, Web(str(tmp_path / "web"), tuple(names[:30])), 3)
    dataset = Dataset.open(root)
    assert len(dataset.segments) == 6
    found = check(dataset)
    assert found.samples < found.planned == 40
    lost = sorted(loss.key for loss in read_losses(dataset, dataset.receipts(IMAGES)))
    remove(dataset, "keys", lost[:2])
    begin_erasing(stage := plan_erase(dataset))
    for shard in stage.rows:
        stage(shard)
    assert "" in check(dataset).hosts
    for shard in (dataset.shards[-1], dataset.segments[3].first):
        Path(root, receipt_path(IMAGES, shard)).unlink()
    check(dataset)


@pytest.fixture
def again(tmp_path: Path) -> Dataset:
    """Of a first shard that failed two rows were tried again."""
    for i in range(6):
        put_failure(tmp_path / "web", f"a-{i}", REASONS[i % 4])
    put_picture(tmp_path / "web", "a-5", 5)
    put_picture(tmp_path / "web", "a-2", 2)
    web = Web(str(tmp_path / "web"), tuple(f"a-{i}" for i in range(6)))
    plan_retry(make_images(tmp_path / "root", web, 3))
    return make_images(tmp_path / "root", web, 3)


class _Watched:
    """A store that notes what is read of it, and is another one where it was unpickled."""

    def __init__(self, store: Any) -> None:
        self._store, self.read = store, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __reduce__(self) -> Any:
        return _Watched, (self._store,)

    def load(self, path: str) -> memoryview:
        self.read.append(path)
        return self._store.load(path)


@pytest.mark.parametrize(("hosts", "retried"), product((False, True), repeat=2))
def test_the_process_that_asks_reads_no_plan_and_no_table(
    again: Dataset, hosts: bool, retried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_losses, "FEW", 0)
    if not retried:
        del again.segments[1:]
    again.store = watched = _Watched(again.store)  # type: ignore[assignment]
    images = again.receipts(IMAGES)
    watched.read.clear()
    asked = list[int]()

    def work(stage: Stage, pieces: Sequence[int]) -> RunResult:
        asked.extend(pieces)
        return look_here(pickle.loads(pickle.dumps(stage)), pieces)  # noqa: S301

    found = measure_yield(again, images, work, hosts)
    assert found.samples + found.reasons.total() == 6
    assert (watched.read, asked) == ([], [0] if hosts or retried else [])


def test_little_is_counted_without_workers_and_much_in_few_pieces(
    again: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stage: Stage, pieces: Sequence[int]) -> RunResult:
        raise AssertionError("a Ray would be started")

    images = again.receipts(IMAGES)
    measure_yield(again, images, refuse, hosts=True)
    monkeypatch.setattr(count_losses, "FEW", 0)
    monkeypatch.setattr(count_losses, "LEAST_SHARDS", 1)
    monkeypatch.setattr(count_losses, "MOST_PIECES", 1)
    measure_yield(again, images, lambda stage, pieces: look_here(stage, [*pieces, *range(1, len(pieces))]))
    assert measure_yield(again, images, lambda *_: RunResult(quarantined={0: "lost"})).problems == [
        "losses could not be counted: lost"
    ]


def test_hosts_are_counted_as_far_as_they_matter(again: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_losses, "MOST_HOSTS", 0)
    found = measure_yield(again, again.receipts(IMAGES), look_here, hosts=True)
    assert (found.hosts, found.reasons.total()) == ({}, 4)


@pytest.mark.parametrize("path", [rows_path(0), plan_path(0), rows_path(2), plan_path(2)])
def test_what_is_damaged_is_named_and_the_rest_counted(again: Dataset, path: str) -> None:
    place = Path(again.store.root, path)
    place.unlink()
    place.write_bytes(b"nothing")
    found = measure_yield(again, again.receipts(IMAGES), look_here, hosts=True)
    assert {line.split(":")[0] for line in found.problems} == {path}


def test_a_damaged_shard_of_retries_is_named_once_whatever_shards_its_rows_were_tried_in_first(
    again: Dataset,
) -> None:
    first, retries = (segment.numbers for segment in again.segments)
    assert (len(first), len(retries)) == (2, 1)
    Path(again.store.root, rows_path(retries[0])).write_bytes(b"nothing")
    [line] = measure_yield(again, again.receipts(IMAGES), look_here).problems
    assert line.startswith(rows_path(retries[0]))
