"""The one reader of log.jsonl."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import LogLine, read_log


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    return path


def test_unknown_fields_of_a_newer_log_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, '{"step": 1, "loss": 0.5, "temperature": 20}\n\n{"step": 2, "memory": 7}\n{"step": 3')
    assert list(read_log(path)) == [LogLine(1, loss=0.5), LogLine(2, memory=7)]


@pytest.mark.parametrize("line", ["{}", "[1]", "x", '{"step": "1"}', "\xff"])
def test_a_line_of_something_else_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl, line 2: must be a JSON object with a step"):
        list(read_log(write(tmp_path, '{"step": 0}\n' + line + "\n")))


def test_a_file_of_any_size_is_read_line_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"step": 0}\n{"step": 1}\n')
    os.truncate(path, 1 << 40)  # zeros that take no place on the disk, and would not fit into memory
    lines = read_log(path)
    assert [next(lines).step, next(lines).step] == [0, 1]
    with pytest.raises(
        RequestError, match=r"log\.jsonl, line 3: must be a line of a log, of fewer than 65536 bytes"
    ):
        next(lines)


def test_a_line_that_is_being_written_ends_the_reading(tmp_path: Path) -> None:
    """What is written meanwhile may be the rest of it."""
    path = tmp_path / "log.jsonl"
    whole = "".join(f'{{"step": {step}}}\n' for step in range(3))
    path.write_text(whole[:15])
    lines = read_log(path)
    assert next(lines).step == 0
    assert next(lines, None) is None
    with path.open("a") as file:
        file.write(whole[15:])
    assert next(lines, None) is None
    assert [line.step for line in read_log(path)] == [0, 1, 2]
