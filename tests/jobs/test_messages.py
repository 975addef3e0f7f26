from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.messages import Messages, apply_messages, shows_bars, take_file, take_messages, terminal
from t2i_shards.jobs.status import StatusCommand
from t2i_shards.pipeline.errors import RequestError


@pytest.mark.parametrize("words", [["--log", "f", "status", "r"], ["status", "--log=f", "r"]])
def test_a_file_is_taken_wherever_it_is(words: list[str]) -> None:
    assert take_file(words, "--log") == ("f", ["status", "r"])


@pytest.mark.parametrize("words", [["--log"], ["--log="], ["--log", "a", "--log", "b"], ["--log", "--json", "r"]])
def test_it_is_one_and_no_other_option(words: list[str]) -> None:
    with pytest.raises(RequestError, match="--log must be given"):
        take_file(words, "--log")


STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


@pytest.fixture(autouse=True)
def _command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `status` that says something of each kind."""

    def say(command: StatusCommand) -> Summary:
        terminal.debug("detail")
        terminal.info("progress")
        logging.getLogger("t2i_shards.somewhere").warning("https://me:word@host is slow\x1b[2J")
        if command.root == "fault":
            raise KeyError("captions")
        if command.root == "interrupted":
            raise KeyboardInterrupt
        return Summary("status: done", problems=("gone",) if command.root == "gone" else ())

    monkeypatch.setattr(StatusCommand, "run", say)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ([], ["progress"]),
        (["-q"], []),
        (["--quiet"], []),
        (["-v"], ["detail", "progress"]),
        (["--verbose"], ["detail", "progress"]),
    ],
)
def test_how_much_is_said(flag: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([*flag, "status", "R"], ["status", "R", *flag]):
        assert run(words) == 0
        out, err = capsys.readouterr()
        assert out == "status: done\n"
        assert [line for line in err.splitlines() if "slow" not in line] == said
    assert run(["status", "gone", *flag]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "gone"


@pytest.mark.parametrize(("words", "code"), [(["status", "interrupted"], 130), (["statsu", "R"], 2)])
def test_a_log_has_every_end(words: list[str], code: int, tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt):
        run([*words, "--log", str(tmp_path / "log.txt")])
    assert (tmp_path / "log.txt").read_text().splitlines()[-1].endswith(f"ended with {code}")


def test_a_log_has_all_of_it_with_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.txt"
    for words in (["status", "gone", "-q", "--log", str(file)], [f"--log={file}", "status", "fault"]):
        run(words)
    lines = file.read_text().splitlines()
    stamped = [STAMP.sub("", line) for line in lines if STAMP.match(line)]
    slow = "https://…@host is slow\\x1b[2J"
    assert stamped[0].endswith(": status gone")
    assert stamped[1:7] == ["detail", "progress", slow, "gone", "status: done", "ended with 3"]
    assert stamped[-1] == "ended with 1"
    assert "Traceback (most recent call last):" in lines
    assert "KeyError: 'captions'" in lines
    assert "Traceback" not in capsys.readouterr().err
    run(["status", "R"])
    assert file.read_text().splitlines() == lines, "only the commands that were asked to"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "R", "-v", "-q"], "-v asks for more to be said and -q for less, so leave one out"),
        (["status", "R", "--log"], "--log must be given one file, not none"),
        (
            ["status", "R", "--log", "/nowhere/log"],
            "--log /nowhere/log must be a file that can be written: ",
        ),
    ],
)
def test_what_cannot_be_heeded_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"t2i-shards: {said}")
    assert err.count("\n") == 1


def test_bars_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert shows_bars()
    with apply_messages(Messages(quiet=True)):
        assert not shows_bars()
    with pytest.raises(RequestError):
        take_messages(["--log", "a", "--log", "b"])
