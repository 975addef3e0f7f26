"""Publishing that is killed or refused: never taken for whole, and the same command ends with the same bytes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.plan import SUMS
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.object_store import ObjectStore
from t2i_shards.pipeline.shards.store import open_store
from tests.faults.drive import CHECKOUT
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset


def run_module(name: str, *arguments: str) -> list[dict[str, Any]]:
    """What a module of this folder prints, a JSON object per line."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.pipeline.publish.{name}", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def die_at_each_step(base: str, tmp_path: Path, *what: str) -> list[dict[str, Any]]:
    steps = run_module("steps", base, str(tmp_path), *what)
    assert steps[-1]["step"] is None
    assert not steps[-1]["half"]
    for step in steps:
        assert step["same"], f"after {step['step']} the same command ended with other files"
        assert not step["mixed"], f"after {step['step']} the old and the new passed for one publication"
    return steps


FILES = 1 + 2 * 5 + 1 + 5 + 5 + 2
"""Made: the claim; two shards of five files; wids; Energon's; sheet, Croissant and its mark, card and terms;
manifest and sums."""


@pytest.mark.soak
def test_death_at_each_step_of_packing(tmp_path: Path) -> None:
    steps = die_at_each_step(str(tmp_path / "to"), tmp_path, "pack", "calls")
    links = sum(step["step"].startswith("before link") for step in steps[:-1])
    assert abs(links - FILES) <= 4, "which of the threads is at a step varies"
    assert all(step["half"] for step in steps[:-1] if "before link" in step["step"])


COLUMNS_FILES = 1 + 5 + 3 + 3 + 2 + 1 + 2
"""The claim; a shard of images (tar, index, rows, plan, receipt), one of sketch; its recipe, card and terms; wids;
dataset.json; manifest and sums."""


@pytest.mark.soak
def test_death_at_each_step_of_publishing_columns(tmp_path: Path) -> None:
    steps = die_at_each_step(str(tmp_path / "to"), tmp_path, "columns", "calls")
    links = [step for step in steps[:-1] if step["step"].startswith("before link")]
    assert len(links) == COLUMNS_FILES
    assert all(step["half"] for step in links)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["pack", "columns"])
def test_death_in_the_middle_of_writing(tmp_path: Path, what: str) -> None:
    steps = die_at_each_step(str(tmp_path / "to"), tmp_path, what)
    if what == "pack":
        assert sum(step["step"] == "inside a write of a tar" for step in steps[:-1]) > 4
    assert sum(not step["half"] for step in steps[:-1]) <= 1  # scratch is removed after the last file is complete


@pytest.mark.soak
def test_death_at_each_step_of_a_purge(tmp_path: Path) -> None:
    steps = die_at_each_step(str(tmp_path / "to"), tmp_path, "purge", "calls")
    assert any(step["step"].startswith("before unlink") for step in steps[:-1])


@pytest.mark.soak
@pytest.mark.parametrize(("what", "files"), [("pack", FILES), ("columns", COLUMNS_FILES)])
def test_death_at_each_request_to_s3(bucket: str, tmp_path: Path, what: str, files: int) -> None:
    steps = die_at_each_step(bucket, tmp_path, what)
    puts = sum(step["step"].startswith("after put_object") for step in steps[:-1])
    assert puts == files + 1, "with the probe that the store refuses to replace"


def die_at_random_bytes(base: str, tmp_path: Path, layout: str, seed: int, places: int) -> None:
    """No torn file, nothing incomplete that is signed, and the same bytes in the end; most of the deaths
    happened."""
    states = run_module("torn", base, str(tmp_path), layout, str(seed), str(places))
    assert len(states) == 3 * places
    for state in states:
        assert not state["torn"], f"after death at byte {state['at']}: {state['torn']}"
        assert not state["half"], f"after death at byte {state['at']} it passed for whole"
    assert all(state["same"] for state in states[2::3])
    assert sum(not state["same"] for state in states[::3]) > places // 2


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_death_at_random_bytes(tmp_path: Path, layout: str) -> None:
    die_at_random_bytes(str(tmp_path / "to"), tmp_path, layout, seed=6, places=12)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 server refuses a request that is cut off, as S3 does; by itself it takes what arrived for the
    object."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication

    answer = DomainDispatcherApplication.__call__

    def call(server: Any, environ: dict[str, Any], start_response: Any) -> Any:
        length = environ.get("CONTENT_LENGTH") or "0"
        body = environ["wsgi.input"].read(int(length))
        headless = environ["REQUEST_METHOD"] == "PUT" and "CONTENT_LENGTH" not in environ
        if headless or len(body) < int(length):
            start_response("400 Bad Request", [])
            return [b"<Error><Code>IncompleteBody</Code></Error>"]
        return answer(server, {**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    monkeypatch.setattr(DomainDispatcherApplication, "__call__", call)


@pytest.mark.soak
@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_death_at_random_bytes_of_an_upload(bucket: str, tmp_path: Path, layout: str) -> None:
    die_at_random_bytes(bucket, tmp_path, layout, seed=7, places=8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("root") / "dataset")


def test_a_second_run_sends_only_what_is_missing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to)
    before = contents(to)
    created: list[str] = []
    real = FolderStore.create

    def create(store: FolderStore, path: str, source: Path) -> bool:
        created.append(path)
        return real(store, path, source)

    monkeypatch.setattr(FolderStore, "create", create)
    assert publish_here(dataset, to).made == 0
    assert created == []
    for name in ("data/train-000001.tar", "receipts/train-000001.json", SUMS):
        (to / name).unlink()
    assert publish_here(dataset, to).made == 1
    *made, last = [path for path in created if path.startswith(("dali/", "data/", "receipts/"))]
    assert sorted(made) == ["dali/train-000001.idx", "data/train-000001.tar", "data/train-000001.tar.idx"]
    assert last == "receipts/train-000001.json"
    assert contents(to) == before


def test_files_of_others_are_not_taken_for_ours(dataset: Dataset, tmp_path: Path) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to)
    for name in ("receipts/train-000001.json", SUMS):
        (to / name).unlink()
    tar = to / "data/train-000001.tar"
    other = (to / "data/train-000000.tar").read_bytes()
    tar.unlink()
    tar.write_bytes(other)
    with pytest.raises(DamagedShard, match=r"train-000001\.tar has no receipt and other bytes.*delete it"):
        publish_here(dataset, to)
    assert tar.read_bytes() == other


class Refused(OSError):
    """503 Slow Down, a reset, or an answer that never came."""


@pytest.mark.parametrize("fatal", ["receipts/train-000001.json", SUMS])
def test_no_manifest_without_its_shards(
    bucket: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: str
) -> None:
    """The store fails at one file, as it does when a client has given up its own retries."""
    to = f"{bucket}/some/place"
    publish_here(dataset, tmp_path / "local")
    with monkeypatch.context() as patch:
        for name in ("create", "create_bytes"):
            real = getattr(ObjectStore, name)

            def create(store: ObjectStore, path: str, data: Any, real: Any = real) -> bool:
                if path == fatal:
                    raise Refused(f"503 for {path}")
                return bool(real(store, path, data))

            patch.setattr(ObjectStore, name, create)
        with pytest.raises(Refused):
            publish_here(dataset, to)
    with pytest.raises(RequestError, match="is not a complete publication"):
        open_published(to)
    publish_here(dataset, to)
    store, local = open_store(to), contents(tmp_path / "local")
    assert {path: bytes(store.load(path)) for path in local} == local
    assert len(open_published(to)) == 30
