from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from t2i_shards.adapters.training.log import Log
from t2i_shards.jobs.launch.follow_log import Follower, follow_log
from t2i_shards.pipeline.runlog import LogLine

LINE = LogLine(0, 0.5, None, None, 0.0, 0.0)


def _lines(*steps: int) -> list[LogLine]:
    return [replace(LINE, step=step) for step in steps]


def _write(log: Log, *steps: int) -> None:
    for line in _lines(*steps):
        log.append(line)


def test_each_line_is_passed_on_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    follower = Follower(path, 0)
    assert follower.read() == []
    log = Log(path, 0)
    assert follower.read() == []
    _write(log, 0, 1)
    assert follower.read() == _lines(0, 1)
    assert follower.read() == []
    _write(log, 2)
    assert follower.read() == _lines(2)


def test_a_line_is_passed_on_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    follower = Follower(path, 0)
    _write(Log(path, 0), 0, 1)
    text = path.read_bytes()
    path.write_bytes(text[:-5])
    assert follower.read() == _lines(0)
    path.write_bytes(text)
    assert follower.read() == _lines(1)


def test_repeated_steps_are_not_passed_on_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    follower = Follower(path, 0)
    _write(Log(path, 0), 0, 1, 2, 3)
    assert follower.read() == _lines(0, 1, 2, 3)
    log = Log(path, 2)  # as workers begin that go on from a checkpoint
    _write(log, 3)
    assert follower.read() == []
    _write(log, 4)
    assert follower.read() == _lines(4)


def test_lines_of_an_earlier_command_are_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    _write(Log(path, 0), 0, 1, 2, 3)
    follower = Follower(path, 2)
    assert follower.read() == []
    _write(Log(path, 2), 3, 4)
    assert follower.read() == _lines(3, 4)


def test_the_last_lines_are_passed_on_before_the_block_ends(tmp_path: Path) -> None:
    told: list[LogLine] = []
    with follow_log(tmp_path / "log.jsonl", 0, told.append):
        _write(Log(tmp_path / "log.jsonl", 0), 0, 1)
    assert told == _lines(0, 1)
