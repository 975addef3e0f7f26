"""What is shown of a training while it runs."""

from __future__ import annotations

import pytest

from t2i_shards.jobs import step_progress as module
from t2i_shards.jobs.step_progress import Pace, show_steps
from t2i_shards.pipeline.runlog import LogLine
from tests.jobs.test_progress import wait_for


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


def test_between_two_validations_a_training_is_heard_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "STEPS_EVERY", 0.01)
    with show_steps(100) as progress:
        progress(_line(0, 0.0))
        progress(_line(2, 1.0))
        wait_for(r"train: step 2 of 100, loss 0.5000(, 2.00 steps/s, .*, 49 s left)?", capsys)
