from __future__ import annotations

import re
import time

import pytest

from t2i_shards.jobs import progress as module
from t2i_shards.jobs.progress import Pace, describe_left, part_of, show_pictures, show_progress, show_steps
from t2i_shards.pipeline.runlog import LogLine
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stages.stage import StageResult


def _line(step: int, seconds: float, wait: float = 0.0, validation: float | None = None) -> LogLine:
    return LogLine(step, 0.5, validation, None, seconds, 0.0, wait=wait, memory=2_500_000_000)


def test_pace_is_of_the_steps_since_it_was_taken() -> None:
    pace = Pace()
    pace.add(_line(0, 0.0))
    assert pace.take(9) == ""
    for step in (1, 2, 3, 4):
        pace.add(_line(step, step * 0.5, wait=0.1))
    assert pace.take(9) == "2.00 steps/s, 20% waiting for data, 2.5 GB of GPU memory, 2 s left"
    for step in (5, 6):
        pace.add(_line(step, 2 + (step - 4) * 0.25))
    assert pace.take(9) == "4.00 steps/s, 0% waiting for data, 2.5 GB of GPU memory, 1 s left"
    assert pace.take(9) == ""


def test_where_there_is_no_terminal_each_validation_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with show_steps(4) as progress:
        for line in (_line(2, 1.0, validation=0.25), _line(3, 2.0), _line(4, 3.0, wait=1.0, validation=0.125)):
            progress(line)
    assert capsys.readouterr().err.splitlines() == [
        "train: step 2 of 4, validation loss 0.2500",
        "train: step 4 of 4, validation loss 0.1250, 1.00 steps/s, 50% waiting for data, 2.5 GB of GPU memory",
    ]


def test_on_a_terminal_a_bar_begins_where_the_run_stood(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with show_steps(9) as progress:
        progress(_line(7, 1.0))
        progress(_line(8, 2.0, validation=0.25))
    said = capsys.readouterr().err
    assert "8/9" in said
    assert "validation loss 0.2500, 1.00 steps/s, 0% waiting for data, 2.5 GB of GPU memory, 1 s left" in said


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
    with part_of("demo", 8, 9), show_pictures("evaluate") as progress:
        wait_for(r"demo 8 of 9, evaluate: no picture after \d+ s", capsys)
        progress(20, 40)
        wait_for(r"demo 8 of 9, evaluate: 20 of 40 pictures, [0-9.]+ pictures/s, \d+ s left", capsys)
        progress(40, 40)
        wait_for(r"demo 8 of 9, evaluate: 40 of 40 pictures, [0-9.]+ pictures/s", capsys)
        wait_for(r"demo 8 of 9, evaluate: 40 pictures, measured for \d+ s", capsys)


def test_between_two_validations_a_training_is_heard_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "STEPS_EVERY", 0.01)
    with show_steps(100) as progress:
        progress(_line(0, 0.0))
        progress(_line(2, 1.0))
        wait_for(r"train: step 2 of 100, loss 0.5000(, 2.00 steps/s, .*, 49 s left)?", capsys)


def made(samples: int, **drops: int) -> StageResult:
    planned = samples + sum(drops.values())
    return StageResult({"images": Receipt("images", 0, planned, samples, 0, "", "", "", drops=drops)})


@pytest.mark.parametrize("terminal", [False, True])
def test_shards_have_samples_drops_speed_and_an_end(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: terminal)
    with show_progress("ingest", 3, 5, with_drops=True) as progress:
        if not terminal:
            wait_for(r"ingest: 2 of 5 shards after \d+ s", capsys)
        progress(2, made(1500, small=4, broken=1))
        progress(3, made(500, small=2))
        told = r"2,000 samples, 7 dropped \(small 6, broken 1\), [0-9.]+ samples/s"
        if not terminal:
            wait_for(rf"ingest: 4 of 5 shards after \d+ s, {told}, \d+ s left", capsys)
        progress(4, None)
    said = capsys.readouterr().err
    if terminal:
        assert re.search(told, said)
        assert "ingest: shard 000004 set aside" in said


def test_drops_of_before_are_no_news(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.01)
    with show_progress("verify", 2, 2) as progress:
        progress(0, made(10, small=4))
        wait_for(r"verify: 1 of 2 shards after \d+ s, 10 samples, [0-9.]+ samples/s, \d+ s left", capsys)


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (119, "119 s"), (300, "5 min"), (9000, "2.5 h")])
def test_what_is_left_is_said_in_the_unit_that_is_read_best(seconds: float, said: str) -> None:
    assert describe_left(seconds) == f"{said} left"
