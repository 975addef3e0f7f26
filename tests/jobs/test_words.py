"""A command line that cannot be read is one line, which says what it should have been, and exit code 2."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO, TextIOWrapper

import pytest
import tyro

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.words import CommandLineError, refuse_in_one_line

TRAIN = "train x --condition sketch --base mini --out r"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --learing-rate 1", "train has no option --learing-rate; did you mean --learning-rate?"),
        (f"{TRAIN} --no-duplicate", "train has no option --no-duplicate; did you mean --no-duplicates?"),
        (f"{TRAIN} --sampler x", "train has no option --sampler; t2i-shards train --help lists its options"),
        (f"{TRAIN} -z", "train has no option -z; t2i-shards train --help lists its options"),
        (f"{TRAIN} --no-flip", "--no-flip is how train does it anyway, so leave it out"),
        (f"{TRAIN} --flip=yes", "--flip takes no value, and 'yes' is one"),
        (f"{TRAIN} --max-steps 9.5", "--max-steps must be a whole number, not '9.5'"),
        (f"{TRAIN} --lr 1,5", "--lr must be a number, not '1,5'"),
        (f"{TRAIN} --mix 0.5 y", "--mix must be a number, not 'y'"),
        (f"{TRAIN} --engine=rai", "--engine must be one of ray, local, not 'rai'"),
        (
            "generate --base mini --out o --prompt -x",
            "--prompt must be followed by a value; write --prompt=-x for one that begins with -",
        ),
        (f"{TRAIN} --steps", "--steps must be followed by a value"),
        ("convert-adapter a b --layout diffusers --channels 4", "--channels must be one of 3, not '4'"),
        ("train x --out r", "train must be given --condition and --base; t2i-shards train --help describes them"),
        ("train --condition sketch --base mini --steps 1 --out", "--out must be followed by a value"),
        (
            "ingest folder",
            "ingest folder must be given --out and FOLDER; t2i-shards ingest folder --help describes them",
        ),
        ("extract --conditions", "extract must be given ROOT: the dataset"),
        ("status a b", "status takes ROOT, and b is one word too many; quote a value with spaces"),
        (
            "generate --base mini --out o --prompt a cat",
            "generate takes only options, and cat is one word too many; quote a value with spaces",
        ),
        ("weights", "weights must be followed by one of list, fetch, convert; --help describes them"),
        (
            "ingest --out r",
            "ingest must be followed by one of scenes, folder, tars, table, coco, laion; --help describes them",
        ),
    ],
)
def test_what_is_wrong_is_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    assert capsys.readouterr() == ("", f"t2i-shards: {said}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ingest", "scenes", "--out", ""], "--out must not be empty; write . for this folder"),
        (["train", "x", "--condition", "sketch", "--base", "mini", "--out="], "--out must not be empty"),
        (["publish", "x", "--to", ""], "--to must not be empty"),
        (["extract", "x", "--conditions", "seg", "--weights", ""], "--weights must not be empty"),
        (["status", ""], "ROOT must not be empty"),
        (["remove", "", "--undo"], "ROOT must not be empty"),
    ],
)
def test_an_empty_path_is_not_this_folder(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert capsys.readouterr().err.startswith(f"t2i-shards: {said}")


@pytest.mark.parametrize("option", ["--seed", "--steps", "--batch"])
def test_a_whole_number_has_at_most_64_bits(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN.split(), option, str(2**63)]) == 2
    assert capsys.readouterr().err == f"t2i-shards: {option} must fit into 64 bits, not {2**63}\n"


@pytest.mark.parametrize("option", ["--prompt", "--negative"])
def test_a_prompt_is_utf8_text(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"--prompt": "x", "--negative": "y"} | {option: "a \udcff"}
    assert (
        run(["generate", "--base", "mini", "--out", "o", *(word for pair in words.items() for word in pair)]) == 2
    )
    assert capsys.readouterr().err == f"t2i-shards: {option} must be UTF-8 text, not 'a \\udcff'\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("train d --condition sketch --base mini --out r\udcff", "--out"),
        ("train d\udcff --condition sketch --base mini --out r", "a name"),
        ("publish d --to p\udcff", "--to"),
        ("evaluate d --condition sketch --base mini --adapter r\udcff", "--adapter"),
        ("generate --base b\udcff --prompt x --out o", "--base"),
        ("ingest folder p\udcff --out d", "a name"),
        ("demo --out r\udcff", "--out"),
        ("miniature --out r\udcff", "--out"),
    ],
)
def test_what_is_recorded_is_utf8_text(words: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"t2i-shards: {named} must be UTF-8 text, not '")
    assert said.endswith("'; rename it\n")


@pytest.mark.parametrize(
    ("words", "way"),
    [
        ("--json status d", "write it after status"),
        ("-- status d", "leave it out"),
        ("ingest --json folder d", "write it after ingest folder"),
    ],
)
def test_options_follow_the_command(words: str, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    assert f" must not be before the command; {way}" in capsys.readouterr().err


def test_a_word_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["a" * 3000]) == 2
    said = capsys.readouterr().err
    assert "aaa…aaa" in said
    assert len(said) < 1000


def test_the_last_words_of_a_list_are_the_ones_that_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ingest folder --truth seg pictures".split()) == 2
    assert capsys.readouterr().err.startswith("t2i-shards: ingest folder must be given --out: ROOT of the dataset")


@pytest.mark.parametrize(("words", "named"), [("train x --condition sketch --out r", "mini"), ("", "ingest")])
def test_what_is_missing_is_given_with_the_choices(
    words: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


@dataclass(frozen=True)
class Toy:
    out: str


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_tyro_alone_finds_is_one_line_too(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", TextIOWrapper(BytesIO(), encoding))
    with pytest.raises(CommandLineError) as refused, refuse_in_one_line("toy", None, []):
        tyro.cli(Toy, args=[], prog="toy")
    assert str(refused.value) == "Missing from toy: --out STR (required)"
