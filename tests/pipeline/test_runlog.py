"""The one reader of log.jsonl."""

from __future__ import annotations

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
    assert read_log(path) == [LogLine(1, loss=0.5), LogLine(2, memory=7)]


@pytest.mark.parametrize("line", ["{}", "[1]", "x", '{"step": "1"}', "\xff"])
def test_a_line_of_something_else_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl, line 2: must be a JSON object with a step"):
        read_log(write(tmp_path, '{"step": 0}\n' + line + "\n"))
