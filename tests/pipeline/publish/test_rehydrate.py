"""Rehydrate: what is fetched again is what was there, to the byte; what is another picture now is left out."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.manifest import PackedShards, read_manifest
from t2i_shards.pipeline.publish.rehydrate import finish_rehydrated, plan_rehydrate
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.base import Seen, unseen
from t2i_shards.pipeline.sources.row import Row
from tests.faults.toys import make_images
from tests.pipeline.publish.crawl import NAMES, Crawl, FromFolder, check_whole, publish_bare, put_crawl, rehydrate
from tests.pipeline.publish.toys import contents, keys_of, publish_here
from tests.pipeline.web import Web, put_failure, put_picture


@pytest.fixture
def source(tmp_path: Path) -> Web:
    return put_crawl(tmp_path)


@pytest.fixture
def dataset(source: Web, tmp_path: Path) -> Dataset:
    return publish_bare(source, tmp_path)


def test_the_same_bytes_as_with_images(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "with", shard_size=3, with_images=True)
    rehydrate(tmp_path, source)
    full, expected = contents(tmp_path / "full"), contents(tmp_path / "with")
    shards = [name for name in expected if name.startswith(("data/", "dali/"))]
    assert len(shards) == 9
    assert {name: full[name] for name in shards} == {name: expected[name] for name in shards}
    assert len(open_published(str(tmp_path / "full"))) == 7


def test_another_picture_or_none_is_left_out_and_counted(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    put_picture(tmp_path / "web", "a-1", 99)
    put_failure(tmp_path / "web", "a-4", "http 404")
    put_failure(tmp_path / "web", "a-5", "opted out: robots.txt")
    finished = rehydrate(tmp_path, source)
    assert finished.drops == {"not the picture of its digest": 1, "http 404": 1, "opted out: robots.txt": 1}
    assert keys_of(tmp_path / "full") == [f"00000000{i}" for i in (0, 2, 3, 6)]
    assert "not the picture of its digest 1" in (tmp_path / "full/README.md").read_text()


def test_a_stated_geometry_makes_no_picture_grow(
    dataset: Dataset, source: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are compared before anything is resized; a publication may state any geometry."""

    def resize(*_: Any) -> None:
        raise AssertionError("it was resized")

    monkeypatch.setattr("t2i_shards.pipeline.publish.rehydrate.apply_placement", resize)
    claim = json.loads((tmp_path / "bare/publish.json").read_text())
    claim["geometry"] |= {"size": 4096, "max_upscale": 1e9}
    (tmp_path / "bare/publish.json").write_text(json.dumps(claim))
    with pytest.raises(
        IncompleteError, match=r"not one picture is available: \{'another size than its conditions': 7\}"
    ):
        rehydrate(tmp_path, source)


def test_an_edited_card_is_kept(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    rehydrate(tmp_path, source)
    card, sums = tmp_path / "full/README.md", tmp_path / "full/SHA256SUMS"
    whole = contents(tmp_path / "full")
    rehydrate(tmp_path, source)
    assert contents(tmp_path / "full") == whole
    card.write_bytes(card.read_bytes() + b"\nA line of the owner's.\n")
    edited = card.read_bytes()
    for _ in range(2):
        rehydrate(tmp_path, source)
        assert card.read_bytes() == edited
        assert "README.md" not in sums.read_text()
        check_whole(tmp_path / "full")


def test_a_card_from_before_cards_were_sealed(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    rehydrate(tmp_path, source)
    card, sums = tmp_path / "full/README.md", tmp_path / "full/SHA256SUMS"
    sealed = card.read_bytes()
    card.write_bytes(sealed[: sealed.rindex(b"<!--")])
    digests = [hashlib.sha256(data).hexdigest() for data in (sealed, card.read_bytes())]
    sums.write_text(sums.read_text().replace(*digests))
    whole = contents(tmp_path / "full")
    rehydrate(tmp_path, source)
    assert contents(tmp_path / "full") == whole


def test_only_what_lacks_its_pictures(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "with", with_images=True)
    with pytest.raises(RequestError, match="must be a packed publication without pictures"):
        plan_rehydrate(open_store(str(tmp_path / "with")), open_store(str(tmp_path / "x")), FromFolder(source))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("dear")
    with pytest.raises(RequestError, match="must be empty or hold this very set"):
        plan_rehydrate(open_store(str(tmp_path / "bare")), open_store(str(tmp_path / "mine")), FromFolder(source))


def test_hugging_face_sees_the_pictures(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    import datasets

    rehydrate(tmp_path, source)
    loaded = datasets.load_dataset(str(tmp_path / "full"), split="train", streaming=True)
    assert isinstance(loaded.features["jpg"], datasets.Image)
    assert [sample["json"]["key"] for sample in loaded] == keys_of(tmp_path / "full")
    assert json.loads((tmp_path / "full/publish.json").read_text())["pictures"] is True


@contextmanager
def serve(folder: Path) -> Iterator[int]:
    """The port of loopback at which the folder's files answer."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_by_the_guarded_downloader(source: Web, tmp_path: Path) -> None:
    """The guard refuses what is not allowed, with its own reason; what is allowed arrives to the byte."""
    with serve(tmp_path / "web") as port:

        class Served(Crawl):
            def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
                for row in super().rows(left_out, seen):
                    yield replace(row, location=f"http://127.0.0.1:{port}/{Path(row.location).name}")

        served = Served(str(tmp_path / "web"), NAMES[:3])
        dataset = make_images(tmp_path / "root", served, 4)
        for name, with_images in (("bare", False), ("with", True)):
            publish_here(dataset, tmp_path / name, with_images=with_images)
        allowed = Limits(allow_private=("127.0.0.0/8",), ports=(port,))
        for name, limits in (("refused", Limits(ports=(port,))), ("full", allowed)):
            fetching = Downloads(limits=limits)
            fetch = plan_rehydrate(open_store(str(tmp_path / "bare")), open_store(str(tmp_path / name)), fetching)
            fetch.setup()
            fetch(0)
            if name == "refused":
                with pytest.raises(IncompleteError, match=r"not one picture is available.*refused: address.: 3"):
                    finish_rehydrated(fetch, {})
            else:
                assert finish_rehydrated(fetch, {}).drops == {}
    shard = "data/train-000000.tar"
    assert (tmp_path / "full" / shard).read_bytes() == (tmp_path / "with" / shard).read_bytes()


@pytest.mark.parametrize("name", ["../secret/train-000000.tar", "/etc/train-000000.tar"])
def test_a_manifest_that_names_files_elsewhere_is_refused(
    name: str, dataset: Dataset, source: Web, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "bare/data", tmp_path / "secret")
    manifest = tmp_path / "bare" / "manifest.jsonl"
    lines = manifest.read_text().replace("data/train-000000.tar", name, 1)
    manifest.unlink()
    manifest.write_text(lines)
    before = sorted(tmp_path.rglob("*"))
    store = open_store(str(tmp_path / "bare"))
    with pytest.raises(RequestError, match=rf"must be relative and without '\.\.', not '{name}'"):
        PackedShards(store, read_manifest(store)).open(0)
    with pytest.raises(RequestError, match=r"must be relative and without"):
        rehydrate(tmp_path, source)
    assert [path for path in sorted(tmp_path.rglob("*")) if "full" not in path.parts] == before
