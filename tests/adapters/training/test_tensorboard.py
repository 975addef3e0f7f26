from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from t2i_shards.adapters.training.boards import FOLDER, TensorBoardWriter
from t2i_shards.pipeline.runlog import LogLine


def _line(step: int, validation: float | None = None) -> LogLine:
    return LogLine(step, step / 8, validation, None, 1.0, 2.0, obedience={"edge_f1": 0.5} if step == 2 else None)


def _read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / FOLDER)).Reload()


def test_what_tensorboard_shows(tmp_path: Path) -> None:
    board = TensorBoardWriter(tmp_path, 0)
    for step in range(3):
        board.add(_line(step, validation=0.25 if step == 1 else None))
    board.add_picture(np.full((4, 6, 3), 9, np.uint8), 2)
    board.close()
    events = _read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("loss/step")] == [(0, 0.0), (1, 0.125), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("loss/validation")] == [(1, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("obedience/edge_f1")] == [(2, 0.5)]
    (picture,) = events.Images("samples")
    assert (picture.step, picture.height, picture.width) == (2, 4, 6)


def test_steps_after_the_one_a_run_resumes_from_are_shown_once(tmp_path: Path) -> None:
    first = TensorBoardWriter(tmp_path, 0)
    for step in range(4):
        first.add(_line(step))
    first.close()
    resumed = TensorBoardWriter(tmp_path, 1)
    resumed.add(_line(2, validation=0.75))
    resumed.close()
    events = _read(tmp_path)
    assert [e.step for e in events.Scalars("loss/step")] == [0, 1, 2]
    assert [e.value for e in events.Scalars("loss/validation")] == [0.75]


def test_what_cannot_be_written_is_said_once_and_the_hook_for_threads_is_given_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = threading.excepthook
    (tmp_path / FOLDER).touch()
    board = TensorBoardWriter(tmp_path, 0)
    with caplog.at_level(logging.WARNING):
        board.add(_line(0))
        board.close()
    assert len(caplog.messages) == 1
    assert threading.excepthook is hook
