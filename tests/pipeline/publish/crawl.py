"""A crawl's pictures in a folder that takes the place of the web, and rehydrating what was published of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.publish.check import plan_check
from t2i_shards.pipeline.publish.index import read_dali_index, scan
from t2i_shards.pipeline.publish.rehydrate import find_left, finish_rehydrated, plan_rehydrate
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages import plan_extract
from tests.faults.toys import make_images, run_here
from tests.pipeline.publish.toys import publish_here
from tests.pipeline.web import Web, put_picture

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


def put_crawl(tmp_path: Path) -> Web:
    """Seven pictures in tmp_path/web."""
    for number, name in enumerate(NAMES):
        put_picture(tmp_path / "web", name, number)
    return Crawl(str(tmp_path / "web"), NAMES)


def publish_bare(source: Web, tmp_path: Path) -> Dataset:
    """A dataset of the source with colours, published without its pictures to tmp_path/bare in shards of 3."""
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
