"""What an erasure leaves of rows in the plan, and what later commands make of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset import name_index
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.erased_plan import erase_rows, is_erased
from t2i_shards.pipeline.dataset.find import Query, find
from t2i_shards.pipeline.dataset.name_index import find_shards, hash_name, list_indices, read_names
from t2i_shards.pipeline.dataset.outcomes import rows_path
from t2i_shards.pipeline.dataset.plan import plan_path, supplement_path
from t2i_shards.pipeline.dataset.supplement import plan_new, plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.commit import receipt_path, tar_path
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.sources.base import Opener
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages import erase as erase_module
from t2i_shards.pipeline.stages import index_names
from t2i_shards.pipeline.stages.erase import Erase, begin_erasing, plan_erase
from t2i_shards.pipeline.stages.index_names import plan_index
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.verify import verify_plan
from tests.faults.toys import Pictures, fill, make_images, problems, run_here
from tests.pipeline.coco_toy import SPLIT, rendered_pictures, write_coco
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = tuple(f"a-{i}" for i in range(8))


@pytest.fixture
def web(tmp_path: Path) -> Web:
    for i, name in enumerate(NAMES):
        put_picture(tmp_path / "web", name, i)
    for name in ("a-1", "a-5"):
        put_failure(tmp_path / "web", name, "http 503")
    return Web(str(tmp_path / "web"), NAMES)


def erase(dataset: Dataset) -> Erase:
    stage = plan_erase(dataset)
    begin_erasing(stage)
    for shard in sorted(stage.rows):
        stage(shard)
    return stage


def erased(dataset: Dataset) -> list[tuple[int, str]]:
    """(shard, last digit of the key) of the rows that are."""
    return [
        (shard, row.key[-1]) for shard in dataset.shards for row in dataset.plan(shard) if is_erased(row.location)
    ]


def remove_urls(dataset: Dataset, *names: str) -> None:
    remove(dataset, "urls", [f"http://a.example/{name}.png" for name in names])


def test_a_row_leaves_every_plan_that_had_it_whether_it_became_a_sample_or_not(web: Web, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    plan_retry(make_images(root, web, 3))
    put_picture(Path(web.folder), "a-1", 1)
    dataset = make_images(root, web, 3)
    remove_urls(dataset, "a-1", "a-5", "a-7")
    stage = erase(dataset)
    assert {shard: {key[-1] for key in keys} for shard, keys in stage.removed.items()} == {2: {"7"}, 3: {"1"}}
    assert erased(dataset) == [(0, "1"), (1, "5"), (2, "7"), (3, "1"), (3, "5")]
    assert problems(root) == []
    assert [row.state for row in find(dataset, Query(key=tuple(f"00000000{i}" for i in (1, 5, 7))))] == [
        "erased",
        "removed",
        "erased",
    ]
    assert find(dataset, Query(caption=("a-7",))) == []
    assert find(dataset, Query(url=("*/a-7.png",))) == []


def test_who_names_the_address_again_hears_that_it_was_erased(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    remove_urls(dataset, "a-7")
    erase(dataset)
    urls = [f"http://a.example/{name}.png" for name in ("a-6", "a-7", "a-9")]
    assert [(row.key, row.state) for row in find(dataset, Query(url=(urls[1],)))] == [("000000007", "erased")]
    again = remove(dataset, "urls", urls)
    assert (again.removed, again.before, again.unknown) == (("000000006",), ("000000007",), (urls[2],))


def test_an_erased_row_is_not_tried_again(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    remove_urls(dataset, "a-1")
    erase(dataset)
    plan_retry(dataset)
    assert [row.key[-1] for row in dataset.plan(3)] == ["5"]


def test_what_an_interrupted_retry_has_planned_goes_too(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    plan_retry(dataset)
    (tmp_path / "root" / supplement_path(1)).unlink()
    dataset = Dataset.open(dataset.store.root)
    remove_urls(dataset, "a-1")
    erase(dataset)
    assert not (tmp_path / "root" / plan_path(3)).exists()
    assert (tmp_path / "root" / plan_path(2)).exists()
    plan_retry(dataset)
    assert [row.key[-1] for row in dataset.plan(3)] == ["5"]


def test_a_plan_that_was_added_meanwhile_or_whose_supplement_is_gone_stays(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    remove_urls(dataset, "a-7")
    stage = plan_erase(dataset)
    added = Dataset.open(dataset.store.root)
    plan_retry(added)
    begin_erasing(stage)
    put_picture(Path(web.folder), "a-1", 1)
    fill(added, web)
    assert problems(tmp_path / "root") == []
    supplement = (tmp_path / "root" / supplement_path(1)).rename(tmp_path / "copy")
    erase(Dataset.open(dataset.store.root))
    supplement.rename(tmp_path / "root" / supplement_path(1))
    assert problems(tmp_path / "root") == []


def test_a_row_that_is_to_be_tried_again_is_not_said_to_be_erased(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 1)
    plan_retry(dataset)
    put_picture(Path(web.folder), "a-1", 1)
    run_here(Ingest(dataset, web, {}), [8])
    remove_urls(dataset, "a-1", "a-5")
    stage = erase(dataset)
    assert (stage.rows.keys(), stage.unmade) == ({1, 5, 8}, 1)
    fill(dataset, web)
    assert erase(dataset).unmade == 0
    assert erased(dataset) == [(1, "1"), (5, "5"), (8, "1"), (9, "5")]


def test_a_row_that_is_found_by_a_later_try_leaves_the_plan_of_the_first(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    plan_retry(dataset)
    put_picture(Path(web.folder), "a-1", 1)
    fill(dataset, web)
    sha256 = find(dataset, Query(key=("000000001",)))[0].sha256
    assert sha256
    assert remove(dataset, "sha256", [sha256]).removed == ("000000001",)
    erase(dataset)
    assert erased(dataset) == [(0, "1"), (3, "1")]


def test_a_row_whose_shard_is_not_made_stays_until_it_is(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    for path in (tar_path(IMAGES, 2), receipt_path(IMAGES, 2), rows_path(2)):
        (tmp_path / "root" / path).unlink()
    remove_urls(dataset, "a-0", "a-7")
    assert erase(dataset).unmade == 1
    assert erased(dataset) == [(0, "0")]
    fill(dataset, web)
    assert erase(dataset).unmade == 0
    assert erased(dataset) == [(0, "0"), (2, "7")]


def test_a_shard_that_is_made_again_lacks_what_was_erased(web: Web, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    remove_urls(dataset, "a-7")
    erase(dataset)
    for path in (tar_path(IMAGES, 2), receipt_path(IMAGES, 2), rows_path(2)):
        (tmp_path / "root" / path).unlink()
    fill(dataset, web)
    assert dataset.receipts(IMAGES)[2].drops == {"erased": 1}
    assert problems(tmp_path / "root") == []


def test_a_source_is_not_asked_for_what_was_erased(tmp_path: Path) -> None:
    """A table would not find the row, and COCO take its people for malformed."""

    class Strict(Pictures):
        def gather(self, rows: Sequence[Row], *given: Any, **options: Any) -> AbstractContextManager[Opener]:
            assert [row.key for row in rows if is_erased(row.location)] == []
            return super().gather(rows, *given, **options)

    dataset = make_images(tmp_path / "root", Pictures(3), 3)
    remove(dataset, "keys", ["k00001"])
    erase(dataset)
    stage = Ingest(dataset, Strict(3), {})
    stage.setup()
    samples, drops = stage.try_rows(dataset.plan(0))
    assert ([sample.key for sample in samples], drops) == (["k00000", "k00002"], {"erased": 1})


def test_a_picture_that_was_erased_is_not_new(tmp_path: Path) -> None:
    for i in range(4):
        put_picture(tmp_path / "folder", f"{i}", i)
    source = FolderSource(str(tmp_path / "folder"), captions="filename")
    dataset = make_images(tmp_path / "root", source, 2)
    remove(dataset, "paths", ["2.png"])
    erase(dataset)
    assert plan_new(dataset, source) is None
    put_picture(tmp_path / "folder", "4", 4)
    plan_new(dataset, source)
    assert [row.location for row in dataset.plan(2)] == ["4.png"]
    paths = ("2.png", str(tmp_path / "folder" / "2.png"))
    assert remove(dataset, "paths", paths).unknown == ()
    for path in paths:
        assert remove(dataset, "paths", [path]).before == ("000000002",)
        assert [row.state for row in find(dataset, Query(path=(path,)))] == ["erased"]


@pytest.mark.parametrize("least", [1, 100], ids=["with an index", "without"])
def test_an_erased_picture_is_known_by_each_of_its_addresses(
    least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (name_index, index_names):
        monkeypatch.setattr(module, "LEAST", least)
    coco = write_coco(tmp_path / "coco", rendered_pictures(4))
    dataset = make_images(tmp_path / "root", CocoSource(str(coco), SPLIT), 2)
    row = dataset.plan(0)[1]
    addresses = row.location, str(row.extra["coco_url"]), str(row.extra["flickr_url"])
    assert all(addresses)
    remove(dataset, "keys", [row.key])
    erase(dataset)
    run_here(stage := plan_index(dataset, dataset.receipts(IMAGES)), range(len(stage.pieces)))
    assert bool(list_indices(dataset.store)) == (least == 1)
    now = dataset.plan(0)[1]
    assert not {*addresses} & {now.location, *now.extra.values()}
    for address in addresses:
        assert remove(dataset, "urls", [address]).before == (row.key,)
        assert [found.state for found in find(dataset, Query(url=(address,)))] == ["erased"]
    assert problems(tmp_path / "root") == []


def test_what_an_earlier_version_erased_leaves_the_plan_when_erase_runs_again(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_images(tmp_path / "root", web, 3)
    remove_urls(dataset, "a-7")
    monkeypatch.setattr(erase_module, "erase_rows", lambda *_: None)
    erase(dataset)
    assert erased(dataset) == []
    monkeypatch.setattr(erase_module, "erase_rows", erase_rows)
    receipt = (tmp_path / "root" / receipt_path(IMAGES, 2)).read_bytes()
    erase(dataset)
    assert erased(dataset) == [(2, "7")]
    assert (tmp_path / "root" / receipt_path(IMAGES, 2)).read_bytes() == receipt
    assert problems(tmp_path / "root") == []


def test_the_truth_of_an_erased_sample_shows_nothing(tmp_path: Path) -> None:
    source = Pictures(6)
    dataset = make_images(tmp_path / "root", source, 3)
    remove(dataset, "keys", ["k00001", "k00003", "k00004", "k00005"])
    erase(dataset)
    fill(dataset, source, ("sketch",))
    receipt = dataset.receipts("sketch")[0]
    samples = load_verified(dataset.store, receipt)
    assert [sample.key for sample in samples] == ["k00000", "k00001", "k00002"]
    assert erase(dataset).removed.keys() == {0, 1}
    assert dataset.receipts("sketch")[0].erased == ("k00001",)
    whole = load_verified(dataset.store, dataset.receipts("sketch")[1])
    assert [sample.key for sample in whole] == ["k00003", "k00004", "k00005"], (
        "every sample of the shard was erased"
    )
    for sample, picture in zip(whole, dataset.load(IMAGES, 1), strict=True):
        shown = format_of("sketch").decode({name: bytes(data) for name, data in sample.members.items()})
        assert (shown.shape, shown.any()) == (decode_rgb(picture.members["jpg"]).shape[:2], False)
    assert verify_plan(dataset) == []


def test_the_index_of_names_forgets_them(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (name_index, index_names):
        monkeypatch.setattr(module, "LEAST", 1)
    dataset = make_images(tmp_path / "root", web, 3)

    def index() -> set[int]:
        stage = plan_index(dataset, dataset.receipts(IMAGES))
        for number in range(len(stage.pieces)):
            stage(number)
        paths = [path for one in list_indices(dataset.store).values() for path in one.paths.values()]
        return {int(name) for path in paths for name in read_names(dataset.store, path)[0]}

    urls = [f"http://a.example/{name}.png" for name in ("a-1", "a-7", "a-6")]
    assert {hash_name(url) for url in urls} <= index()
    remove_urls(dataset, "a-1", "a-7")
    erase(dataset)
    assert list_indices(dataset.store) == {}
    assert {hash_name(url) for url in urls} & index() == {hash_name(urls[2])}
    assert find_shards(dataset, urls[:1]) == []
    assert remove(dataset, "urls", urls[:2]).before == ("000000001", "000000007")
    assert [row.state for row in find(dataset, Query(url=(urls[1],)))] == ["erased"]
    assert find_shards(dataset, ["000000001"]) == [0]
