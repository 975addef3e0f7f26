from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.training.checkpoint import list_steps
from t2i_shards.adapters.training.log import Log, choose_best, find_margins
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.adapters.training.validation import Validation
from t2i_shards.pipeline.runlog import LogLine, read_log
from tests.adapters.toys import toy_config, toy_stream


def _line(step: int, seconds: float = 1.0) -> LogLine:
    return LogLine(step, 0.1, None, None, seconds, 2.0)


def test_log_lines_after_the_checkpoint_are_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, step=0)
    for step in range(4):
        log.append(_line(step))
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    log = Log(path, step=2)
    log.append(_line(3, seconds=9.0))
    assert list(read_log(path)) == [_line(0), _line(1), _line(2), _line(3, seconds=9.0)]


def test_run_that_begins_forgets_an_older_log(tmp_path: Path) -> None:
    Log(tmp_path / "log.jsonl", step=0).append(_line(0, seconds=5.0))
    Log(tmp_path / "log.jsonl", step=0).append(_line(0))
    assert list(read_log(tmp_path / "log.jsonl")) == [_line(0)]


def test_log_that_is_missing_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert list(read_log(path)) == []
    Log(path, step=2).append(_line(3))
    assert list(read_log(path)) == [_line(3)]


def test_lines_are_on_the_disk_when_sync_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, step=0)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    for step in range(2):
        log.append(_line(step))
        log.sync()
        assert synced[-1:] == [path.stat().st_size]


MARGINS = [0.0, 0.1, 0.4, 0.3, 0.1, 0.2]
"""Of steps 0 to 5: the third is the best."""


def test_the_best_is_where_the_condition_tells_most() -> None:
    lines = [LogLine(0, None, 1.0, 1.0), LogLine(1, 0.5), LogLine(2, 0.5, 0.9, 1.3), LogLine(3, 0.5, 0.7, 1.0)]
    margins = find_margins(lines)
    assert margins.keys() == {0, 2, 3}
    assert choose_best(margins, [1, 2, 3]) == 2
    assert choose_best(margins, [1, 3]) == 3
    assert choose_best({2: 0.5, 4: 0.5}, [4, 2]) == 2
    assert choose_best(margins, [1]) is None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations whose margin at each step is that of MARGINS."""
    calls = [0]

    def measure(validation: Validation, adapter: Any, mismatched: bool = False) -> float:
        step, calls[0] = calls[0] // 2, calls[0] + 1
        return 1.0 + mismatched * MARGINS[step]

    monkeypatch.setattr(Validation, "measure", measure)


def test_the_best_checkpoint_is_kept_besides_the_newest(tiny: Base, told: None, tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=5, checkpoint_every=1, validate_every=1, keep=1)
    summary = Training(config, toy_stream(), tiny).run()
    assert list_steps(tmp_path) == [2, 5]
    assert summary.best_step == 2
    assert (tmp_path / "checkpoints/000002/adapter" / WEIGHTS).read_bytes() != (
        tmp_path / "adapter" / WEIGHTS
    ).read_bytes()


def test_a_run_that_was_stopped_keeps_the_same_ones(tiny: Base, told: None, tmp_path: Path) -> None:
    def stop(line: LogLine) -> None:
        if line.step == 4:
            raise KeyboardInterrupt

    config = toy_config(tmp_path, steps=5, checkpoint_every=1, validate_every=1, keep=1)
    with pytest.raises(KeyboardInterrupt):
        Training(config, toy_stream(), tiny).run(stop)
    assert list_steps(tmp_path) == [2, 4]
    assert Training(config, toy_stream(), tiny).run().best_step == 2
    assert list_steps(tmp_path) == [2, 5]
