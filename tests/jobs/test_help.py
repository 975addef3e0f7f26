"""--help of every command, on a terminal of 80 columns."""

from __future__ import annotations

import re
from dataclasses import MISSING
from io import BytesIO, TextIOWrapper
from itertools import pairwise
from typing import Any, get_args, get_type_hints

import pytest

from t2i_shards.adapters.flags import list_flags
from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.commands import Commands, IngestCommand, WeightsCommand, parse_command
from t2i_shards.jobs.help import LAST
from t2i_shards.pipeline.marks import Mark


def _list_commands(union: Any, before: str = "") -> dict[str, type[Any]]:
    return {f"{before}{note.name}": kind for kind, note in map(get_args, get_args(union))}


KINDS = _list_commands(Commands)
for group, of in (("ingest", IngestCommand), ("weights", WeightsCommand)):
    del KINDS[group]
    [inner] = get_type_hints(of, include_extras=True).values()
    KINDS |= _list_commands(inner, f"{group} ")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def _help(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        parse_command([*command.split(), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("command", ["", "ingest", "weights", *KINDS])
def test_it_fits_and_breaks_no_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _help(command, capsys)
    assert max(map(len, lines)) <= 80
    for line, after in pairwise(lines):
        first = after.split()[0] if after.split() else ""
        indent = len(after) - len(after.lstrip())
        same = line and indent == len(line) - len(line.lstrip()) != 2 and first[:1].islower()
        assert not same or len(line) + 1 + len(first) > 80, f"{line!r} has room for {first!r}"


@pytest.mark.parametrize("command", KINDS)
def test_common_options_come_first_and_all_are_described_once(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _help(command, capsys)
    titles = [
        line for line in lines if re.fullmatch(r"(arguments|(common )?options|advanced(, [a-z ]+)?):.*", line)
    ]
    names = [line.split("  --")[1].split()[0].rstrip(",") for line in lines if line.startswith("  --")]
    flags = [flag for flag in list_flags(KINDS[command]) if not flag.positional and flag.mark is not Mark.HIDDEN]
    shown = {flag: f"{'no-' if flag.default is True else ''}{flag.name}" for flag in flags}
    assert sorted(names) == sorted(shown.values())
    advanced = {name for flag, name in shown.items() if flag.mark is Mark.ADVANCED}
    places = [name in advanced for name in names]
    assert places == sorted(places), "the advanced ones are last"
    assert places.count(False) <= 20
    assert [title.startswith("advanced") for title in titles] == sorted(t.startswith("advanced") for t in titles)
    assert ("common options:" in titles) == bool(advanced)
    common = [name for name in names if name not in advanced]
    assert common[-1] == LAST[-1]
    assert not advanced & {shown[flag] for flag in flags if flag.default is MISSING}, (
        "what must be given is common"
    )


def test_what_trains_first_is_common(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _help("train", capsys)
    common = lines[lines.index("common options:") : lines.index("advanced, data: the samples")]
    shown = [word for line in common if line.startswith("  --") for word in re.findall(r"--[\w-]+", line)]
    assert shown[:6] == ["--condition", "--base", "--pretrained-model", "--out", "--output-dir", "--size"]
    wanted = (
        "epochs max-steps batch-size learning-rate resolution mixed-precision num-workers seed dry-run".split()
    )
    assert {f"--{name}" for name in wanted} <= {*shown}


def test_each_command_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _help("", capsys)
    for name in ("miniature", "mini-weights"):
        at = next(number for number, line in enumerate(lines) if line.split()[:1] == [name])
        ends = next(number for number, line in enumerate(lines[at:]) if line.endswith("."))
        assert ends <= 1, lines[at : at + 5]
    assert not any("Rows: 1 text alone" in line for line in lines)


def test_an_option_without_effect_is_taken_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any("--engine" in line for line in _help("status", capsys))
    assert parse_command(["status", "data", "--engine", "local"])


def test_help_is_for_the_command_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    usage = "usage: t2i-shards ingest folder FOLDER --out STR [OPTIONS]"
    for words in ("ingest folder --help", "ingest folder x --out r -h", "ingest folder --config none.toml --help"):
        with pytest.raises(SystemExit):
            parse_command(words.split())
        assert capsys.readouterr().out.splitlines()[0] == usage
    assert run(["igest", "--help"]) == 2
    assert "did you mean ingest?" in capsys.readouterr().err


def test_it_can_be_read_where_the_output_is_not_in_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(printed, "ascii", "replace", write_through=True))
    with pytest.raises(SystemExit):
        parse_command(["ingest", "laion", "--help"])
    assert b"advanced, limits: how far a download may go" in printed.getvalue()


@pytest.mark.parametrize("words", ["--version", "-v --version", "-q --version"])
def test_the_version(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 0
    assert capsys.readouterr().out.startswith("t2i-shards ")
