"""--config: options from a file, which the command line overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.adapters.config_file import render_config
from t2i_shards.adapters.training.config import flatten_options
from t2i_shards.jobs.__main__ import parse, run
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.pipeline.shards.store import open_store
from tests.adapters.training.test_config import FLAGS

BASIC = """
roots = ["a", "b"]
condition = "sketch"
base = "mini"
out = "run"
learning_rate = 0.5
mix = [0.7, 0.3]
flip = true
duplicates = false
"""
SAME = "train a b --condition sketch --base mini --out run --lr 0.5 --mix 0.7 0.3 --flip --no-duplicates"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f.toml"
    path.write_text(BASIC)
    return path


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("", SAME),
        ("c d", SAME.replace("a b", "c d")),
        ("--lr 2", SAME.replace("--lr 0.5", "--lr 2")),
        ("--learning_rate=2 --no-flip", SAME.replace("--lr 0.5", "--lr 2").replace("--flip", "")),
        ("--duplicates --mix 0.5 0.5 --batch 4", SAME.replace("0.7 0.3", "0.5 0.5")[:-15] + "--batch 4"),
    ],
)
def test_flags_override_the_file(given: str, same: str, file: Path) -> None:
    assert parse(["train", "--config", str(file), *given.split()]) == parse(same.split())
    assert parse([f"--config={file}", "train", *given.split()]) == parse(same.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("lerning_rate = 1", "train has no option 'lerning_rate'; did you mean learning-rate?"),
        ("zzz = 1", "train has no option 'zzz'; t2i-shards train --help names all"),
        ("lr = 1", "learning_rate and lr are the same option, so leave one out"),
        ("seed = true", "seed must be a value, not true or false"),
        ('live = "yes"', "live must be true or false"),
        ("seed = [1, 2]", "seed must be one value, not a list"),
        ('command = "generate"', "is for generate, not for train"),
    ],
)
def test_what_the_command_does_not_know_is_one_line(
    more: str, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(BASIC + more)
    assert run(["train", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("value", ['roots = ["--json"]', 'condition = "sketch"\nroots = "--dry-run"'])
def test_a_value_is_never_taken_for_another_option(
    value: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(value)
    assert run(["train", "--config", str(file)]) == 2
    assert "roots must not be '--" in capsys.readouterr().err


def test_a_value_keeps_the_rules_of_its_flag(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BASIC + "batch = -1")
    assert run(["train", "--config", str(file)]) == 2
    assert capsys.readouterr().err == "t2i-shards: --batch must be above 0, not -1\n"
    for words in (["train", "--config"], ["train", "--config", "a", "--config", "b"]):
        assert run(words) == 2
        assert "--config must be given one file" in capsys.readouterr().err


def test_commands_of_two_words_have_files_too(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text('command = "ingest folder"\nfolder = "pictures"\nout = "R"\nsize = 64')
    asked = parse(["ingest", "folder", "--config", str(file), "--fit", "square"])
    assert asked == parse("ingest folder pictures --out R --size 64 --fit square".split())


def test_the_file_of_a_run_repeats_it(tmp_path: Path) -> None:
    asked = parse(["train", *FLAGS.split()])
    assert isinstance(asked, TrainCommand)
    file = tmp_path / "config.toml"
    file.write_bytes(render_config("train", asked.config))
    again = parse(["train", "--config", str(file)])
    assert isinstance(again, TrainCommand)
    assert render_config("train", again.config) == file.read_bytes()
    different = {*flatten_options(again.config)} ^ {*flatten_options(asked.config)}
    assert {type(value) for name, value in different if name != "roots"} <= {type(tmp_path)}, "but for folders"


@pytest.mark.usefixtures("in_this_process")
def test_a_dataset_is_made_again_by_its_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = "--samples 2 --size 64 --seed 3 --truth depth --engine local".split()
    assert run(["ingest", "scenes", "--out", str(first), *words]) == 0
    file = first / "config.toml"
    kept = file.read_bytes()
    assert run(f"ingest scenes --config {file} --out {second} --engine local --workers 1".split()) == 0
    assert (second / "dataset.json").read_bytes() == (first / "dataset.json").read_bytes()
    assert (second / "config.toml").read_bytes() == kept
    assert (second / "depth/000000.tar").read_bytes() == (first / "depth/000000.tar").read_bytes()
    assert run(["ingest", "scenes", "--out", str(first), *words, "--workers", "1"]) == 0
    assert run(["verify", str(first), "--engine", "local", "--workers", "1"]) == 0
    assert file.read_bytes() == kept


@pytest.mark.usefixtures("in_this_process")
def test_columns_and_a_publication_are_made_again_by_their_files(tmp_path: Path) -> None:
    first, second, out, again = (tmp_path / name for name in ("first", "second", "out", "again"))
    here = "--engine local --workers 1"
    for root in (first, second):
        assert run(f"ingest scenes --samples 4 --size 64 --out {root} {here}".split()) == 0
    assert run(f"extract {first} --conditions canny color --batch 3 {here}".split()) == 0
    assert run(f"extract {first} --conditions color --as small {here}".split()) == 0
    file = first / "small/config.toml"
    assert parse(f"extract d --config {file}".split()) == parse("extract d --conditions color --as small".split())
    kept = file.read_bytes()
    for column in ("canny", "color", "small"):
        assert run(f"extract {second} --config {first / column / 'config.toml'} {here}".split()) == 0
        tars = [(root / column / "000000.tar").read_bytes() for root in (first, second)]
        assert tars[0] == tars[1]
    assert run(f"extract {first} --config {file} --batch 5 {here}".split()) == 0
    assert file.read_bytes() == kept, "nothing was made"
    assert run(f"verify {first} {here}".split()) == 0
    words = "--columns color canny --splits train=0.5 test=0.5 --title Scenes --language en --readers webdataset"
    assert run(f"publish {first} --to {out} --shard-size 3 {words} {here}".split()) == 0
    config = f"--config {out / 'publish.json'} --readers webdataset"
    assert run(f"publish {second} --to {again} {config} {here}".split()) == 0
    assert (again / "publish.json").read_bytes() == (out / "publish.json").read_bytes()
    assert (again / "SHA256SUMS").read_bytes() == (out / "SHA256SUMS").read_bytes()


@pytest.mark.parametrize(("kind", "asked"), [("folder", False), ("laion", True)])
def test_own_pictures_ask_for_none_of_a_crawl(kind: str, asked: bool, tmp_path: Path) -> None:
    (tmp_path / "publish.json").write_text(json.dumps({"source": {"kind": kind}, "pictures": True}))
    command = parse(f"publish d --to p --config {tmp_path}/publish.json".split())
    assert isinstance(command, PublishCommand)
    assert command.publication.with_images == asked


def test_a_publication_that_is_not_there_is_no_file_of_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "publish.json").write_text("[]")
    for folder in (tmp_path, tmp_path / "none"):
        assert run(["publish", "d", "--to", "p", "--config", str(folder / "publish.json")]) == 2
        assert "--config" in (said := capsys.readouterr().err)
        assert said.count("\n") == 1


def test_a_file_may_lie_in_a_bucket(bucket: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(f"{bucket}/one")
    store.create_bytes("f.toml", file.read_bytes())
    claim = {"source": {"kind": "folder"}, "splits": [["train", 0.5], ["test", 0.5]], "title": "T"}
    store.create_bytes("publish.json", json.dumps(claim).encode())
    assert parse(["train", "--config", f"{bucket}/one/f.toml"]) == parse(SAME.split())
    command = parse(f"publish d --to p --config {bucket}/one/publish.json".split())
    assert isinstance(command, PublishCommand)
    assert (command.publication.title, command.publication.splits) == ("T", ("train=0.5", "test=0.5"))
    for words in ("train", "publish d --to p"):
        for place, said in (
            (f"{bucket}/none/publish.json", "cannot be read: "),
            (f"{bucket}-not/publish.json", "cannot be read: "),
            ("s3://publish.json", "must name a bucket"),
        ):
            assert run([*words.split(), "--config", place]) == 2
            assert said in (err := capsys.readouterr().err)
            assert err.count("\n") == 1
