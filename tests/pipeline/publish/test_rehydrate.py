"""Rehydrate: what is fetched again is what was there, to the byte; what is another picture now is left out."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.check import plan_check
from t2i_shards.pipeline.publish.index import read_dali_index, scan
from t2i_shards.pipeline.publish.manifest import PackedShards, read_manifest
from t2i_shards.pipeline.publish.rehydrate import find_left, finish_rehydrated, plan_rehydrate
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.sources.base import Seen, unseen
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages import plan_extract
from tests.faults.toys import make_images, run_here
from tests.pipeline.publish.toys import contents, keys_of, publish_here
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = tuple(f"a-{i}" for i in range(7))


class Crawl(Web):
    crawl: ClassVar = True

    def describe(self) -> Any:
        return {"kind": "laion"}


@dataclass(frozen=True)
class FromFolder:
    """Fetches as the source does, from a folder that takes the place of the web."""

    source: Web
    resources: Resources = Resources()  # noqa: RUF009  (frozen)

    def setup(self) -> None:
        """Nothing to get ready."""

    @contextmanager
    def fetch(self, urls: Sequence[str], scratch: Path) -> Iterator[Any]:
        class Fetched:
            def __getitem__(self, url: str) -> bytes:
                content = source.open(Row("a", url, ("",))).content
                assert isinstance(content, bytes)
                return content

        source = self.source
        yield Fetched()


@pytest.fixture
def source(tmp_path: Path) -> Web:
    for number, name in enumerate(NAMES):
        put_picture(tmp_path / "web", name, number)
    return Crawl(str(tmp_path / "web"), NAMES)


@pytest.fixture
def dataset(source: Web, tmp_path: Path) -> Dataset:
    dataset = make_images(tmp_path / "root", source, 4)
    run_here(plan_extract(dataset, ["color"]), dataset.shards)
    publish_here(dataset, tmp_path / "bare", shard_size=3)
    return dataset


def rehydrate(tmp_path: Path, source: Web, out: str = "full") -> Any:
    stage = plan_rehydrate(open_store(str(tmp_path / "bare")), open_store(str(tmp_path / out)), FromFolder(source))
    stage.setup()
    for number in find_left(stage):
        stage(number)
    return finish_rehydrated(stage, {})


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


def test_an_attempt_that_died_is_made_again(dataset: Dataset, source: Web, tmp_path: Path) -> None:
    """The web answers otherwise than to the attempt that left a shard without receipt."""
    put_failure(tmp_path / "web", "a-0", "timed out")
    rehydrate(tmp_path, source)
    for name in ("SHA256SUMS", "receipts/train-000000.json"):
        (tmp_path / "full" / name).unlink()
    put_picture(tmp_path / "web", "a-0", 0)
    assert rehydrate(tmp_path, source).drops == {}
    assert len(keys_of(tmp_path / "full")) == 7


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


def check_whole(out: Path) -> None:
    """Each receipt and index is that of its tar, and nothing else is there."""
    for path in out.glob("receipts/*.json"):
        receipt, shard = Receipt.decode(path.read_bytes(), path.name), f"data/{path.stem}"
        tar = (out / f"{shard}.tar").read_bytes()
        assert hashlib.sha256(tar).hexdigest() == receipt.sha256, f"{path.stem}: the receipt of another tar"
        assert len(list(read_samples(memoryview(tar)))) == receipt.samples
        assert read_dali_index((out / f"dali/{path.stem}.idx").read_bytes(), shard) == scan(memoryview(tar))
    store = open_store(str(out))
    assert not store.names("drafts")
    groups = plan_check(store)
    assert [line for number in range(len(groups.groups)) for line in groups(number).errors] == []


@pytest.mark.parametrize("ends", [pytest.param("goes on", marks=pytest.mark.soak), "dies"])
def test_another_attempt_at_any_step(
    ends: str, dataset: Dataset, source: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web answers it otherwise. Whichever tar is first, its receipt and indexes go with it."""
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
