"""Attempts at rehydrating that die, or that another attempt overtakes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.rehydrate import plan_rehydrate
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.store import open_store
from tests.pipeline.publish.crawl import NAMES, FromFolder, check_whole, publish_bare, put_crawl, rehydrate
from tests.pipeline.publish.toys import contents, keys_of, publish_here
from tests.pipeline.web import Web, put_failure, put_picture


@pytest.fixture
def source(tmp_path: Path) -> Web:
    return put_crawl(tmp_path)


@pytest.fixture
def dataset(source: Web, tmp_path: Path) -> Dataset:
    return publish_bare(source, tmp_path)


def test_an_attempt_that_died_is_made_again(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    """The web gives other answers than to the attempt that left a shard without receipt."""
    put_failure(tmp_path / "web", "a-0", "timed out")
    rehydrate(tmp_path, source)
    for name in ("SHA256SUMS", "receipts/train-000000.json"):
        (tmp_path / "full" / name).unlink()
    put_picture(tmp_path / "web", "a-0", 0)
    assert rehydrate(tmp_path, source).drops == {}
    assert len(keys_of(tmp_path / "full")) == 7


class Interrupted(Exception):
    """Ends an attempt."""


def before_step(out: Path, at: int, act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calls `act` before the step number `at` of those that create or remove a file of `out`. The steps so far."""
    steps: list[int] = []
    for name in ("create", "discard"):
        real = getattr(FolderStore, name)

        def step(store: FolderStore, *arguments: Any, real: Any = real) -> Any:
            if store.root == str(out) and len(steps) < at:
                steps.append(at)
                if len(steps) == at:
                    act()
            return real(store, *arguments)

        monkeypatch.setattr(FolderStore, name, step)
    return steps


@pytest.mark.parametrize("ends", [pytest.param("goes on", marks=pytest.mark.soak), "dies"])
def test_another_attempt_at_any_step(
    ends: str, dataset: Dataset, source: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web gives it other answers. Whichever tar is first, its own receipt and indexes are kept with it."""
    shutil.rmtree(tmp_path / "bare")
    publish_here(dataset, tmp_path / "bare")
    out = tmp_path / "full"

    def other() -> None:
        put_failure(tmp_path / "web", "a-1", "timed out")
        assert len(rehydrate(tmp_path, source, out.name).lines) == 1
        put_picture(tmp_path / "web", "a-1", 1)

    def die() -> None:
        raise Interrupted

    for at in itertools.count(1):
        out = tmp_path / f"full-{at}"
        with monkeypatch.context() as patch:
            steps = before_step(out, at, other if ends == "goes on" else die, patch)
            try:
                rehydrate(tmp_path, source, out.name)
            except Interrupted:
                left = {path: path.read_bytes() for path in out.glob("data/*.tar")}
                other()
                assert all(path.read_bytes() == data for path, data in left.items()), "it is made once"
            except IncompleteError:  # another publisher is at work there
                rehydrate(tmp_path, source, out.name)
        check_whole(out)
        if len(steps) < at:
            break
    assert at > 9


def test_a_tar_that_was_left_is_finished_without_a_download(
    dataset: Dataset, source: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, create = tmp_path / "full", FolderStore.create

    def die(store: FolderStore, path: str, *arguments: Any) -> bool:
        if path.endswith(".idx"):
            raise Interrupted
        return create(store, path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "create", die)
        with pytest.raises(Interrupted):
            rehydrate(tmp_path, source)
    [left] = out.glob("data/*")
    asked: list[str] = []
    fetch = FromFolder.fetch

    def note(self: FromFolder, urls: Sequence[str], scratch: Path) -> Any:
        asked.extend(urls)
        return fetch(self, urls, scratch)

    monkeypatch.setattr(FromFolder, "fetch", note)
    before = left.read_bytes()
    rehydrate(tmp_path, source)
    assert len(asked) == 7 - 3, "those of the other shards"
    assert left.read_bytes() == before
    check_whole(out)


def test_an_attempt_that_gets_nothing_is_first(
    dataset: Dataset, source: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receipt counts, and the tar of the attempt that got the pictures is removed."""
    out, create = tmp_path / "full", FolderStore.create
    first = "receipts/train-000000.json"

    def create_later(store: FolderStore, path: str, *arguments: Any) -> bool:
        if path == first and not (out / "data/other.begun").exists():
            (out / "data/other.begun").touch()
            for name in NAMES[:3]:
                put_failure(tmp_path / "web", name, "timed out")
            stage = plan_rehydrate(open_store(str(tmp_path / "bare")), open_store(str(out)), FromFolder(source))
            stage.setup()
            assert stage._make(0, stage.targets[0]).samples == 0
        return create(store, path, *arguments)

    monkeypatch.setattr(FolderStore, "create", create_later)
    finished = rehydrate(tmp_path, source)
    (out / "data/other.begun").unlink()
    assert Receipt.decode((out / first).read_bytes(), first).samples == 0
    assert finished.drops == {"timed out": 3}
    assert [line.name for line in finished.lines] == ["data/train-000001.tar", "data/train-000002.tar"]
    assert not [name for name in contents(out) if "000000" in name and name != first]
    assert keys_of(out) == [f"00000000{i}" for i in range(3, 7)]
    assert len(open_published(str(out))) == 4
