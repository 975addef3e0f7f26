from __future__ import annotations

from ast import literal_eval
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, get_args

import pytest

from t2i_shards.adapters.flags import Flag, list_flags
from t2i_shards.adapters.training.config import OptimizerConfig
from t2i_shards.jobs.commands import Commands, parse_command
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.pipeline.marks import Mark

GROUPS = ("ingest", "weights")
KINDS = {note.name: kind for kind, note in map(get_args, get_args(Commands)) if note.name not in GROUPS}


def _by_name(kind: type[Any]) -> dict[str, Flag]:
    flags = list(list_flags(kind))
    assert len({name for flag in flags for name in flag.names}) == sum(len(flag.names) for flag in flags)
    return {flag.name: flag for flag in flags}


def test_flags_are_what_they_say() -> None:
    flags = _by_name(TrainCommand)
    path = ("config", "optimizer", "lr")
    assert flags["lr"] == Flag(
        "lr", path, 1e-5, ("learning-rate",), kind=float, owner=OptimizerConfig, group="optimizer"
    )
    assert (flags["ema"].mark, flags["ema"].group, flags["seed"].group) == (Mark.ADVANCED, "optimizer", "")
    assert (flags["roots"].metavar, flags["steps"].kind, flags["mix"].kind) == ("ROOT", int, float)
    assert get_args(flags["engine"].kind) == ("ray", "local")
    assert flags["base"].path == ("config", "base", "name")
    assert (flags["roots"].positional, flags["roots"].several, flags["out"].positional) == (True, True, False)
    assert (flags["flip"].switch, flags["duplicates"].default, flags["mix"].several) == (True, True, True)
    assert _by_name(ExtractCommand)["as"].path == ("as_",)
    command = parse_command("train data --condition sketch --base mini --out run --lr 2".split())
    assert flags["lr"].read(command) == 2
    assert flags["roots"].read(command) == ("data",)


@pytest.mark.parametrize("name", KINDS)
def test_tyro_has_the_same_names(name: str, known: dict[str, Any]) -> None:
    flags = [flag for flag in list_flags(KINDS[name]) if not flag.positional]
    ours = {f"--{'no-' if flag.default is True else ''}{word}" for flag in flags for word in flag.names}
    assert {word for option in known[name]["options"] for word in option["flags"]} - {"-h", "--help"} == ours


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """The commands that tyro tells bash of."""
    printed = StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        parse_command(["--tyro-print-completion", "bash"])
    [line] = [line for line in printed.getvalue().splitlines() if line.startswith("COMPLETION_SPEC = ")]
    found: dict[str, Any] = literal_eval(line.removeprefix("COMPLETION_SPEC = "))["subcommands"]
    return found
