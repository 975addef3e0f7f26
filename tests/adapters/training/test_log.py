from __future__ import annotations

import os
from pathlib import Path

import pytest

from t2i_shards.adapters.training.log import Log
from t2i_shards.pipeline.runlog import LogLine, read_log


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
