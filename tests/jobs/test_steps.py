from __future__ import annotations

import pytest

from t2i_shards.jobs import progress as module
from t2i_shards.jobs.progress import Pace, show_pictures, show_steps
from t2i_shards.pipeline.runlog import LogLine


def _line(step: int, seconds: float, wait: float = 0.0, validation: float | None = None) -> LogLine:
    return LogLine(step, 0.5, validation, None, seconds, 0.0, wait=wait, memory=2_500_000_000)


def test_pace_is_of_the_steps_since_it_was_taken() -> None:
    pace = Pace()
    pace.add(_line(0, 0.0))
    assert pace.take() == ""
    for step in (1, 2, 3, 4):
        pace.add(_line(step, step * 0.5, wait=0.1))
    assert pace.take() == "2.00 steps/s, 20% waiting for data, 2.5 GB of GPU memory"
    for step in (5, 6):
        pace.add(_line(step, 2 + (step - 4) * 0.25))
    assert pace.take() == "4.00 steps/s, 0% waiting for data, 2.5 GB of GPU memory"
    assert pace.take() == ""


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
    assert "validation loss 0.2500, 1.00 steps/s, 0% waiting for data, 2.5 GB of GPU memory" in said


def test_pictures_have_lines_that_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with show_pictures("evaluate") as progress:
        for done in (10, 20, 30, 40):
            progress(done, 40)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 20 of 40 pictures, 1.0 pictures/s, 20 s left",
        "evaluate: 40 of 40 pictures, 1.0 pictures/s",
    ]
