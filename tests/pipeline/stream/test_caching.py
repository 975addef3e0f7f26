"""Shards of a remote store are cached in the user's cache folder, unless another was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.shards.object_store import ObjectStore
from t2i_shards.pipeline.stream import Stream, open_stream
from t2i_shards.pipeline.stream.caching import open_cache
from tests.faults.toys import Pictures, make_images
from tests.pipeline.publish.toys import publish_here, toy_dataset
from tests.pipeline.stream.toys import send

Open = Callable[..., Stream]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that were loaded from far away, as often as they were."""
    seen: list[str] = []
    real = ObjectStore._read

    def note(store: ObjectStore, path: str) -> bytes:
        if path.endswith(".tar"):
            seen.append(path)
        return real(store, path)

    monkeypatch.setattr(ObjectStore, "_read", note)
    return seen


@pytest.fixture(params=["dataset", "publication"])
def opener(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Open:
    """Opens two shards on S3."""
    if request.param == "dataset":
        make_images(tmp_path / "root", Pictures(4), 2)
        far = send(tmp_path / "root", f"{bucket}/root")
        return lambda **asked: open_stream(far.root, [], **asked)
    publish_here(toy_dataset(tmp_path / "root", 4, 2, color=False), tmp_path / "to", shard_size=2)
    published = send(tmp_path / "to", f"{bucket}/to")
    return lambda **asked: open_published(published.root, **asked)


def cached(folder: Path) -> int:
    return len(list(folder.glob("*.tar")))


def test_a_remote_shard_is_loaded_once(opener: Open, loaded: list[str], tmp_path: Path) -> None:
    for epoch in range(2):
        assert len(list(opener().samples(epoch))) == 4
    assert len(loaded) == 2
    assert cached(Path(os.environ["T2I_SHARDS_CACHE"], "shards")) == 2
    assert len(list(opener(cache=tmp_path / "other").samples(0))) == 4
    assert (len(loaded), cached(tmp_path / "other")) == (4, 2)


def test_none_was_asked_for(opener: Open, loaded: list[str]) -> None:
    stream = opener(cache_bytes=0)
    for epoch in range(2):
        assert len(list(stream.samples(epoch))) == 4
    assert len(loaded) == 4
    assert not Path(os.environ["T2I_SHARDS_CACHE"]).exists()


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("T2I_SHARDS_CACHE", raising=False)
    monkeypatch.setattr("pathlib.Path.home", fail)


def a_file_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_SHARDS_CACHE", "/dev/null")


def a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)


@pytest.mark.parametrize("lack", [no_home, a_file_in_its_place, a_full_disk])
def test_an_unusable_cache_does_not_stop_the_stream(
    lack: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    lack(monkeypatch)
    store: Any = ObjectStore("s3://bucket/root")
    assert open_cache(store, [800, 800], None, None) is None
    (said,) = caplog.messages
    assert said.startswith("s3://bucket/root is read without a cache, and all of it again in each epoch: the ")
    if lack is not a_full_disk:
        return
    with pytest.raises(RequestError, match="must have room for two blocks of shards, 1600 bytes, not 500"):
        open_cache(store, [800, 800], tmp_path, None)


def test_a_disk_that_fills_up_is_read_past(opener: Open, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = opener(cache=disk / "cache", cache_bytes=1 << 30)
    found = os.statvfs(disk)
    (disk / "other").write_bytes(bytes(found.f_bavail * found.f_frsize))
    assert len(list(stream.samples(0))) == 4
    assert cached(disk / "cache") == 0
    assert sum(line.startswith("the cache cannot be written, ") for line in caplog.messages) == 1
