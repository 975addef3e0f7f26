"""How commands are parsed and how they end."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_shards.jobs.__main__ import parse, run
from t2i_shards.jobs.command import Summary, execute, single_writer, summarise
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.ingest import IngestFolder, IngestScenes
from t2i_shards.jobs.status import StatusCommand
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.shards.store import SINGLE_WRITER
from t2i_shards.pipeline.stages.stage import StageResult
from tests.adapters.toys import train_config


@dataclass(frozen=True)
class Toy:
    """A command that ends in the given way."""

    error: BaseException | None = None
    problems: tuple[str, ...] = ()
    json: bool = False
    record: dict[str, Any] = field(default_factory=lambda: {"samples": 3})

    def run(self) -> Summary:
        if self.error:
            raise self.error
        return Summary("toy: 3 samples", self.record, self.problems)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("--size must be 64, not 3"), 2),
        (IncompleteError("half of it"), 3),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "no space left"), 3),
        (OSError(errno.EACCES, "not allowed"), 2),
        (KeyError("captions"), 1),
        (RecursionError("maximum recursion depth exceeded\nin a comparison"), 1),
        (MemoryError(), 1),
        (torch.OutOfMemoryError("CUDA out of memory"), 3),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(Toy(error)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("t2i-shards: ")
    assert said.err.count("\n") == 1


HOSTILE = "\x1b[2Jhttps://me:password@host/x?sig=secret\u202e\x9b\nt2i-shards: all done"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("error", [None, RequestError(HOSTILE), KeyError(HOSTILE)])
def test_text_from_outside_neither_steers_the_terminal_nor_tells_secrets(
    error: Exception | None, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(Toy(error, (HOSTILE,), as_json, {HOSTILE: 1}))  # type: ignore[dict-item]
    said = "".join(capsys.readouterr())
    assert "https://…@host/x?sig=…" in said
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)
    assert "password" not in said
    assert "secret" not in said
    assert not any(line.startswith("t2i-shards: all done") for line in said.splitlines())


def test_a_fault_of_the_program_says_where_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: StatusCommand) -> Summary:
        raise KeyError("captions") from ValueError("https://me:word@host/x\x1b[2J")

    monkeypatch.setattr(StatusCommand, "run", fail)
    assert run(["status", "R"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("t2i-shards: a fault of t2i-shards: KeyError: 'captions' (test_command.py, line ")
    assert "-v" in said
    assert "Traceback" not in said
    for arguments in (["status", "R", "-v"], ["-v", "status", "R"]):
        assert run(arguments) == 1
        said = capsys.readouterr().err
        assert "Traceback" in said
        assert "in fail" in said
        assert "ValueError: https://…@host/x\\x1b[2J" in said
        assert said.splitlines()[-1].startswith("t2i-shards: a fault of t2i-shards: ")


def test_problems_end_with_3_and_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(Toy(problems=("shard 000001: gone", "shard 000002: gone"))) == 3
    said = capsys.readouterr()
    assert said.err.splitlines() == ["shard 000001: gone", "shard 000002: gone"]
    assert said.out == "toy: 3 samples\n"


def test_json_is_all_of_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(Toy(json=True)) == 0
    assert json.loads(capsys.readouterr().out) == {"samples": 3, "problems": []}


def test_a_shard_set_aside_is_a_problem_and_not_counted_as_done() -> None:
    result = RunResult(made={0: StageResult()}, quarantined={1: "ValueError: bad"})
    summary = summarise("extract", result, 2)
    assert "1 of 2 shards done" in summary.line
    assert summary.problems == ("shard 000001 set aside after 3 attempts: ValueError: bad",)


def test_the_spellings_that_scripts_rely_on() -> None:
    scenes = parse(
        "ingest scenes --out R --samples 40 --shard-size 8 --size 128 --seed 3 --truth depth seg "
        "--workers 2 --engine local --json".split()
    )
    assert isinstance(scenes, IngestScenes)
    assert (scenes.source.samples, scenes.source.seed, scenes.geometry.size) == (40, 3, 128)
    assert (scenes.options.out, scenes.options.shard_size, scenes.options.truth) == ("R", 8, ("depth", "seg"))
    assert (scenes.engine.engine, scenes.engine.workers, scenes.json) == ("local", 2, True)
    folder = parse("ingest folder pictures --out R --fit square --max-upscale 3".split())
    assert isinstance(folder, IngestFolder)
    assert (folder.folder, folder.geometry.fit, folder.geometry.max_upscale) == ("pictures", "square", 3.0)
    extract = parse("extract R --conditions sketch --variant mini --weights W --as sketch2 --workers 3".split())
    assert isinstance(extract, ExtractCommand)
    assert (extract.root, extract.conditions, extract.variant) == ("R", ("sketch",), "mini")
    assert (extract.weights, extract.as_, extract.engine.workers) == (Path("W"), "sketch2", 3)
    status = parse("status R --engine local --workers 4".split())
    assert isinstance(status, StatusCommand)
    assert (status.root, status.readers.workers) == ("R", 4)
    train = parse(
        "train R --condition sketch --base tiny --adapter small --out RUN --steps 9 --batch 2 "
        "--checkpoint-every 3 --seed 5".split()
    )
    assert isinstance(train, TrainCommand)
    wanted = train_config(
        roots=("R",),
        condition="sketch",
        out=Path("RUN"),
        adapter="small",
        steps=9,
        batch=2,
        checkpoint_every=3,
        seed=5,
    )
    assert train.config == wanted


@pytest.mark.parametrize(
    "line",
    [
        "ingest scenes --out R --size 100",
        "ingest scenes --out R --samples 0",
        "ingest scenes --out R --quality 0",
        "ingest scenes --out R --workers 0",
        "ingest folder no-such-folder --out R",
        "train R --condition sketch --base mini --out RUN --steps 0",
    ],
)
def test_a_wrong_value_is_one_line_and_2(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["verify", "root"], ["remove", "root", "--keys", "keys.txt"]])
def test_the_stores_of_a_command_know_that_it_is_the_only_writer(words: list[str]) -> None:
    for asked in (parse(words), parse([*words, "--single-writer"])):
        with single_writer(asked):
            alone = SINGLE_WRITER in os.environ
        assert alone == (asked != parse(words))
        assert SINGLE_WRITER not in os.environ


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train data --condition sketch --base mini --out run --lr nan", "--lr must be a finite number, not nan"),
        (
            "train a b --condition sketch --base mini --out run --mix 0.5 inf",
            "--mix must be a finite number, not inf",
        ),
        ("generate --base tiny --prompt x --out o --guidance nan", "--guidance must be a finite number, not nan"),
        (
            "generate --base tiny --prompt x --out o --adapter sketch=a:nan --condition sketch=m.png",
            "--adapter must have a finite weight, and sketch=a:nan has nan",
        ),
    ],
)
def test_numbers_must_be_finite(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    assert capsys.readouterr().err == f"t2i-shards: {said}\n"


def test_json_has_null_for_a_number_that_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(Toy(json=True, record={"losses": [1.5, float("nan")], "last": float("inf")})) == 0
    assert json.loads(capsys.readouterr().out) == {"losses": [1.5, None], "last": None, "problems": []}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean train?"),
        ("ingset", "did you mean ingest?"),
        ("x", "there are demo, "),
        ("ingest foldr", "did you mean ingest folder?"),
        ("weights x", "there are list, fetch, convert"),
    ],
)
def test_a_mistyped_command_is_named(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*word.split(), "data"]) == 2
    assert f"no command is called {word!r}; {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["train", "extract", "ingest folder", "publish", "generate", "evaluate"])
def test_help_names_what_it_asks_for(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse([*words.split(), "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 120
    for riddle in ("{None}", "options options", "[[STR", "(default: )"):
        assert riddle not in shown


def test_a_script_for_the_shell_is_written_where_there_was_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "share/completions/t2i-shards"
    with pytest.raises(SystemExit) as ended:
        run(["--tyro-write-completion", "bash", str(script)])
    assert not ended.value.code
    assert "publish" in script.read_text()
    assert run(["--tyro-write-completion", "bash", str(script / "file")]) == 2
    assert "must name a file that can be written" in capsys.readouterr().err
    assert run(["--tyro-write-completion", "tcsh", str(script)]) == 2
    assert "must be followed by one of bash, zsh, fish" in capsys.readouterr().err
