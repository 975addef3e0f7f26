"""What is shown of a job while it runs, but for the steps of a training."""

from __future__ import annotations

import re
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from t2i_shards.jobs import progress as module
from t2i_shards.jobs import shard_progress
from t2i_shards.jobs.progress import describe_left, part_of, show_pictures, show_waiting
from t2i_shards.jobs.shard_progress import ShardProgress, show_progress
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stages.stage import StageResult


def wait_for(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Until a line of stderr is of this pattern."""
    said = ""
    for _ in range(1000):
        said += capsys.readouterr().err
        if any(re.fullmatch(pattern, line) for line in said.splitlines()):
            return
        time.sleep(0.01)
    raise AssertionError(said)


def test_pictures_have_lines_that_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    with part_of("demo", 8, 9), show_pictures("evaluate", measured=True) as progress:
        wait_for(r"demo 8 of 9, evaluate: no picture after \d+ s", capsys)
        progress(0.254, 40)
        wait_for(r"demo 8 of 9, evaluate: 0\.25 of 40 pictures, [0-9.]+ pictures/s, .* left", capsys)
        progress(20, 40)
        wait_for(r"demo 8 of 9, evaluate: 20 of 40 pictures, [0-9.]+ pictures/s, \d+ s left", capsys)
        progress(40, 40)
        wait_for(r"demo 8 of 9, evaluate: 40 of 40 pictures, [0-9.]+ pictures/s", capsys)
        wait_for(r"demo 8 of 9, evaluate: 40 pictures, measured for \d+ s", capsys)


def test_pictures_that_are_not_measured_have_no_line_after_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    lines = module._PictureLines("generate", measured=False)
    lines.advance(1, 1)
    lines.show()
    said = capsys.readouterr().err
    assert re.fullmatch(r"generate: 1 of 1 picture, [0-9.]+ pictures/s\n", said)


def made(samples: int, **drops: int) -> StageResult:
    planned = samples + sum(drops.values())
    return StageResult({"images": Receipt("images", 0, planned, samples, 0, "", "", "", drops=drops)})


@pytest.mark.parametrize("terminal", [False, True])
def test_shards_have_samples_drops_speed_and_an_end(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with show_progress("ingest", 3, 5, with_drops=True, planned=10_000) as progress:
        if not terminal:
            wait_for(r"ingest: 2 of 5 shards after \d+ s", capsys)
        progress.show_under_way(500)
        progress.show()
        if not terminal:
            heard = r"ingest: 2 of 5 shards after \d+ s, \d+ s left, 500 samples, [0-9.]+ samples/s"
            wait_for(heard, capsys)
        progress.show_under_way(0)
        progress(2, made(1500, small=4, broken=1))
        progress(3, made(500, small=2))
        told = r"\d+ s left, 2,000 samples, [0-9.]+(?: samples)?/s, 7 dropped \(small 6, broken 1\)"
        if not terminal:
            wait_for(rf"ingest: 4 of 5 shards after \d+ s, {told}", capsys)
        progress(4, None)
    said = capsys.readouterr().err
    if terminal:
        assert re.search(told, said)
        assert re.search(r"45%\|[^|]+\| 2/5 shards, \d+ s left, 500 samples", said)
        assert "ingest: shard 000004 set aside" in said


def test_drops_of_before_are_no_news(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    with show_progress("verify", 2, 2) as progress:
        progress(0, made(10, small=4))
        wait_for(r"verify: 1 of 2 shards after \d+ s, \d+ s left, 10 samples, [0-9.]+ samples/s", capsys)


def test_drops_may_come_while_they_are_shown() -> None:
    count, over = ShardProgress("ingest", 1), threading.Event()
    count.drops.update(map(str, range(100_000)))

    def add() -> None:
        while not over.is_set():
            count.drops.update([f"late {len(count.drops)}"])

    adding = threading.Thread(target=add)
    adding.start()
    try:
        for _ in range(20):
            assert "dropped" in count.describe()[-1]
    finally:
        over.set()
        adding.join()


def test_what_is_left_counts_what_is_done_of_the_shards_under_way() -> None:
    count = ShardProgress("ingest", 4, 1, size=1000)
    assert count.left == 3
    count.show_under_way(500)
    assert count.left == 2.5
    count(1, made(100, small=900))
    assert count.left == 0, "shards have 100 samples, as it seems now"
    count.show_under_way(50)
    assert count.left == 1.5


def test_the_start_of_workers_does_not_count_for_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(shard_progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    count = ShardProgress("ingest", 1, size=1000, started=0.0)
    for now, samples in ((100.0, 100), (110.0, 200)):
        clock.now = now
        count.show_under_way(samples)
    assert count.describe()[0] == "80 s left"


def test_what_takes_long_and_cannot_be_counted_has_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    with part_of("ingest", 5, 5), show_waiting("duplicates"):
        wait_for(r"ingest 5 of 5, duplicates: \d+ s so far", capsys)


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (119, "119 s"), (300, "5 min"), (9000, "2.5 h")])
def test_what_is_left_is_said_in_the_unit_that_is_read_best(seconds: float, said: str) -> None:
    assert describe_left(seconds) == f"{said} left"
