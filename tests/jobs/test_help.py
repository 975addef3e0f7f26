"""--help of every command, on a terminal of 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from itertools import pairwise
from typing import get_args

import pytest

from t2i_shards.jobs.commands import Commands, parse_command

NAMES = [
    *(get_args(command)[1].name for command in get_args(Commands)),
    *(f"ingest {kind}" for kind in ("scenes", "folder", "tars", "table", "coco", "laion")),
    *(f"weights {action}" for action in ("list", "fetch", "convert")),
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", ["", *NAMES])
def test_it_fits_and_breaks_no_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_command([*command.split(), "--help"])
    assert ended.value.code == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    for line, after in pairwise(lines):
        first = after.split()[0] if after.split() else ""
        indent = len(after) - len(after.lstrip())
        same = indent == len(line) - len(line.lstrip()) and first[:1].islower()
        assert not same or len(line) + 1 + len(first) > 78, f"{line!r} has room for {first!r}"
    assert "Error" not in "\n".join(lines)
    titles = _titles(lines)
    assert titles, "nothing to compare"
    assert all(title.replace(" ", "").isalpha() for title in titles), titles


def _titles(lines: list[str]) -> list[str]:
    """Of groups: in the upper side of a box, or above a rule."""
    ruled = [line.strip() for line, after in pairwise(lines) if re.fullmatch(" -+", after)]
    return ruled + [line.strip("╭╮─ ") for line in lines if line.startswith("╭")]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_titles_of_groups_are_plain_words(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(printed, encoding, "replace", write_through=True))
    with pytest.raises(SystemExit):
        parse_command(["ingest", "laion", "--help"])
    lines = [line.rstrip() for line in printed.getvalue().decode(encoding).splitlines()]
    assert _titles(lines)[-2:] == ["source download options", "source download limit options"]
    assert {len(line) for line in lines if line.startswith(("╭", "│"))} in ({80}, set())


def test_a_completion_script_of_the_same_process_changes_no_help() -> None:
    """tyro keeps the texts of options as it first read them, so this needs a process of its own."""
    script = """
from contextlib import suppress
from t2i_shards.jobs.commands import parse_command
for words in (["--tyro-print-completion", "zsh"], ["remove", "--help"]):
    with suppress(SystemExit):
        parse_command(words)
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600
    )
    assert "newest; not once the samples were erased, or left out" in printed.stdout.rpartition("usage: ")[2]
