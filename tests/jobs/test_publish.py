"""publish and remove as commands: exit codes, summaries, both engines."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.command import EngineOptions, execute
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.jobs.remove import RemoveCommand
from t2i_shards.jobs.verify import VerifyCommand
from t2i_shards.pipeline.publish import Publication
from t2i_shards.pipeline.publish import hub as hub_module
from tests.pipeline.image.pictures import save, smooth
from tests.pipeline.publish.hub_server import Hub
from tests.pipeline.publish.toys import contents, keys_of, publish_here, toy_dataset

pytestmark = pytest.mark.usefixtures("in_this_process")

LOCAL = EngineOptions("local", 1)


@pytest.mark.soak
def test_both_engines_give_the_bytes_of_this_process(
    tmp_path: Path, ray_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = toy_dataset(tmp_path / "root")
    publish_here(dataset, tmp_path / "here")
    for name, engine in (("ray", EngineOptions("ray", 2)), ("local", EngineOptions("local", 2))):
        command = PublishCommand(
            str(tmp_path / "root"),
            str(tmp_path / name),
            Publication(shard_size=10),
            readers=(),
            engine=engine,
            json=True,
        )
        assert execute(command) == 0
        assert contents(tmp_path / name) == contents(tmp_path / "here")
        record = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (record["shards"], record["made"], record["samples"]) == (3, 3, {"train": 30})


def test_remove_then_purge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, to = str(tmp_path / "root"), str(tmp_path / "to")
    toy_dataset(tmp_path / "root", 8, 8, color=False)
    publish = PublishCommand(root, to, Publication(shard_size=4), readers=(), engine=LOCAL)
    assert execute(publish) == 0
    (tmp_path / "keys").write_text("k00001\nk00009\n", encoding="utf-16")
    assert execute(RemoveCommand(root, keys=tmp_path / "keys")) == 3
    out, err = capsys.readouterr()
    assert "1 sample removed now, 0 before; 1 of those asked for are not in this dataset" in out
    assert f"not in {root}: k00009" in err
    assert execute(publish) == 2
    assert "publish with --purge" in capsys.readouterr().err
    purge = PublishCommand(root, to, Publication(shard_size=4), purge=True, readers=(), engine=LOCAL)
    assert execute(purge) == 0
    assert "2 shards, 1 of them now" in capsys.readouterr().out
    assert keys_of(tmp_path / "to") == [f"k{i:05d}" for i in range(8) if i != 1]


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_workers_count_what_rows_lost_at_their_last_try(
    layout: Literal["packed", "columns"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"in/{name}.png").write_bytes(save(smooth(100, 140), "PNG"))
    (tmp_path / "in/a.txt").write_text("a caption")
    words = f"--out {tmp_path}/root --size 64 --engine local --workers 1 --min-yield 0"
    assert run(f"ingest folder {tmp_path}/in {words}".split()) == 0
    (tmp_path / "in/b.txt").write_text("another")
    assert run(f"ingest folder {tmp_path}/in --retry-failed {words}".split()) == 0
    monkeypatch.setattr("t2i_shards.pipeline.stages.count_losses.FEW", 0)
    publish = PublishCommand(f"{tmp_path}/root", f"{tmp_path}/to", Publication(layout), readers=(), engine=LOCAL)
    numbered = []

    def number(command: str, number: int, of: int) -> AbstractContextManager[None]:
        numbered.append((number, of))
        return nullcontext()

    monkeypatch.setattr("t2i_shards.jobs.publish.part_of", number)
    assert execute(publish) == 0
    assert numbered == ([(1, 3), (2, 3), (3, 3)] if layout == "packed" else [(1, 2), (2, 2)])
    assert "no caption 1" in (tmp_path / "to/README.md").read_text()


def test_the_hub_gets_what_was_put_together_in_the_staging_folder(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_dataset(tmp_path / "root", 8, 8, color=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    root, to = str(tmp_path / "root"), "hf://datasets/user/name"
    publish = PublishCommand(root, to, readers=(), private=True, engine=LOCAL)
    assert execute(publish) == 0
    staged = contents(tmp_path / ".cache/t2i-shards/publish/user--name")
    assert f"{to}; {len(staged)} files sent" in capsys.readouterr().out
    assert hub.private
    assert {path: hub.files[path][0] for path in staged} == staged
    assert execute(publish) == 0
    assert f"{to}; all files were there already" in capsys.readouterr().out
    hub.edit({"README.md": staged["README.md"] + b"mine"})
    assert execute(publish) == 0
    assert "kept as edited: README.md" in capsys.readouterr().out
    again = PublishCommand(root, to, readers=(), staging=tmp_path / "staging", revision="v2", engine=LOCAL)
    assert execute(again) == 0
    assert contents(tmp_path / "staging") == staged
    assert {path: hub.branches["v2"][path][0] for path in staged} == staged
    for wrong in ("hf://user/name", str(tmp_path / "to")):
        assert execute(PublishCommand(root, wrong, readers=(), private=True, engine=LOCAL)) == 2


def test_another_users_repository_is_refused_before_anything_is_made(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_dataset(tmp_path / "root", 8, 8, color=False)
    hub.create()
    hub.edit({"LICENSE": b"mine"})
    staging = tmp_path / "staging"
    command = PublishCommand(
        str(tmp_path / "root"), "hf://datasets/user/name", readers=(), staging=staging, engine=LOCAL
    )
    assert execute(command) == 2
    assert "hf://datasets/user/name must be empty or hold this publication; it holds LICENSE" in (
        capsys.readouterr().err
    )
    assert not staging.exists()


@pytest.mark.parametrize(("layout", "folder", "count"), [("packed", "data", 4), ("columns", "images", 8)])
def test_more_files_than_the_hub_takes_are_refused_before_anything_is_made(
    tmp_path: Path,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    layout: Literal["packed", "columns"],
    folder: str,
    count: int,
) -> None:
    toy_dataset(tmp_path / "root", 8, 4, color=False)
    monkeypatch.setattr(hub_module, "MOST_ENTRIES", count - 1)
    command = PublishCommand(
        str(tmp_path / "root"),
        "hf://datasets/user/name",
        Publication(layout=layout, shard_size=4),
        readers=(),
        staging=tmp_path / "staging",
        engine=LOCAL,
    )
    assert execute(command) == 2
    assert f"holds at most {count - 1} files, and {folder} would hold {count}; " in capsys.readouterr().err
    assert contents(tmp_path / "staging") == {}
    assert hub.commits == []


@pytest.mark.parametrize("given", [(), ("keys", "urls")])
def test_remove_takes_one_list(tmp_path: Path, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list").write_text("k00001\n")
    files = dict.fromkeys(given, tmp_path / "list")
    assert execute(RemoveCommand(str(tmp_path), **files)) == 2
    assert f"one of --keys, --urls, --sha256 and --paths, {len(given)} were given" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["keys", "urls", "sha256", "paths"])
@pytest.mark.parametrize("place", ["/dev/zero", "fifo"])
def test_a_list_is_no_device_and_no_pipe(
    tmp_path: Path, by: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may have no end, or none who writes."""
    toy_dataset(tmp_path / "root", 2, 2, color=False)
    os.mkfifo(tmp_path / "fifo")
    assert execute(RemoveCommand(str(tmp_path / "root"), **{by: tmp_path / place})) == 2
    said = capsys.readouterr().err
    assert f"--{by} must be a text file with one in each line" in said
    assert "must be a regular file" in said


def test_a_shard_that_is_damaged_ends_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_dataset(tmp_path / "root", 8, 4, color=False)
    path = tmp_path / "root/sketch/000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    command = PublishCommand(str(tmp_path / "root"), str(tmp_path / "to"), readers=(), engine=LOCAL)
    assert execute(command) == 3
    err = capsys.readouterr().err
    assert "sketch/000001.tar: must have sha256" in err
    assert not {"manifest.jsonl", "SHA256SUMS"} & contents(tmp_path / "to").keys()


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_verify_reads_a_publication(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, to = toy_dataset(tmp_path / "root", 8, 4, color=False), tmp_path / "to"
    publish_here(dataset, to, layout=layout, shard_size=4)
    before = contents(to)
    tar = next(to.glob("*/*000001.tar"))
    data = tar.read_bytes()
    tar.write_bytes(data[:1000] + b"!" + data[1001:])
    verify = VerifyCommand(str(to), EngineOptions("local", 1))
    assert execute(verify) == 3
    out, err = capsys.readouterr()
    assert f"verify: {len(before) - 1} files of the publication, 1 problem" in out
    assert f"{tar.relative_to(to).as_posix()}: must have sha256" in err
    assert "delete it and publish again" in err
    tar.unlink()
    assert publish_here(dataset, to, layout=layout, shard_size=4).made == 1
    assert contents(to) == before
    (to / "SHA256SUMS").unlink()
    if layout == "packed":
        assert execute(verify) == 3
        assert "is incomplete: SHA256SUMS, which is written last, is not there" in capsys.readouterr().err
