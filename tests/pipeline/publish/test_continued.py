"""A dataset that grows after it was published: what is removed can still be taken out of the publication."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.duplicates import load_duplicates, mark_duplicates
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.publish import Publication, open_published, publish
from t2i_shards.pipeline.publish.continued import take_options
from t2i_shards.pipeline.publish.signature import read_sums
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.verify import verify_columns, verify_plan
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, fill, make_images, run_here
from tests.pipeline.publish.before import ASKED, unpack_before
from tests.pipeline.publish.toys import contents, here, keys_of, publish_here, rewrite_images, with_known
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = tuple(f"a-{i}" for i in range(8))
GEOMETRY = Geometry(64)


def fill_all(dataset: Dataset, web: Web, *columns: str) -> Dataset:
    fill(dataset, web)
    run_here(plan_extract(dataset, columns or ["color"]), dataset.shards)
    return dataset


def grow(dataset: Dataset, web: Web) -> Dataset:
    """The row that failed succeeds after all, in a shard of its own."""
    put_picture(Path(web.folder), "a-2", 2)
    assert plan_retry(dataset)
    return fill_all(Dataset.open(dataset.store.root), web)


@pytest.fixture
def web(tmp_path: Path) -> Web:
    for number, name in enumerate(NAMES):
        put_picture(tmp_path / "web", name, number)
    put_failure(tmp_path / "web", "a-2", "http 503")
    return Web(str(tmp_path / "web"), NAMES)


@pytest.fixture
def dataset(web: Web, tmp_path: Path) -> Dataset:
    return fill_all(plan_dataset(str(tmp_path / "root"), web, GEOMETRY, 4), web)


def all_but(*gone: int) -> list[str]:
    return [f"{i:09d}" for i in range(8) if i not in gone]


@pytest.mark.parametrize("asked", [{}, {"duplicates": False, "splits": ("train=1",)}])
def test_a_purge_gives_the_bytes_that_it_gave_before_it_grew(
    dataset: Dataset, web: Web, tmp_path: Path, asked: dict[str, object]
) -> None:
    for name in ("to", "same"):
        publish_here(dataset, tmp_path / name, shard_size=3, **asked)
    remove(dataset, "keys", ["000000004"])
    publish_here(dataset, tmp_path / "same", purge=True, shard_size=3, **asked)
    grown = grow(dataset, web)
    assert len(grown.shards) == 3
    published = publish_here(grown, tmp_path / "to", purge=True, shard_size=3, **asked)
    assert (published.made, published.counts) == (1, {"train": 6})
    assert keys_of(tmp_path / "to") == all_but(2, 4)
    assert contents(tmp_path / "to") == contents(tmp_path / "same")
    assert publish_here(grown, tmp_path / "to", purge=True, shard_size=3, **asked).made == 0


def test_what_is_new_is_not_left_out_silently(dataset: Dataset, web: Web, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    before = contents(tmp_path / "to")
    grown = grow(dataset, web)
    with pytest.raises(
        RequestError, match=r"from the first 2 shards of .*, which has 3 now; --purge continues with"
    ):
        publish_here(grown, tmp_path / "to")
    assert contents(tmp_path / "to") == before
    publish_here(grown, tmp_path / "other")
    assert sorted(keys_of(tmp_path / "other")) == all_but()


def test_a_purge_needs_nothing_of_the_new_shards(dataset: Dataset, web: Web, tmp_path: Path) -> None:
    """Their pictures and conditions are not there yet. Of the removed samples one was never published."""
    publish_here(dataset, tmp_path / "to")
    assert plan_retry(dataset)
    grown = Dataset.open(dataset.store.root)
    remove(grown, "keys", ["000000002", "000000005"])
    publish_here(grown, tmp_path / "to", purge=True)
    assert keys_of(tmp_path / "to") == all_but(2, 5)


def test_a_column_that_was_added_later_is_no_part_of_a_purge(dataset: Dataset, web: Web, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    fill_all(dataset, web, "canny")
    remove(dataset, "keys", ["000000005"])
    with pytest.raises(RequestError, match="was published with columns"):
        publish_here(dataset, tmp_path / "to")
    publish_here(dataset, tmp_path / "to", purge=True)
    assert keys_of(tmp_path / "to") == all_but(2, 5)
    assert json.loads((tmp_path / "to/publish.json").read_text())["columns"].keys() == {"images", "color"}


def test_pictures_that_are_others_now_are_refused(dataset: Dataset, web: Web, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    put_picture(tmp_path / "web", "a-7", 70)
    other = fill_all(plan_dataset(str(tmp_path / "other"), web, GEOMETRY, 4), web)
    with pytest.raises(RequestError, match="was published with columns"):
        publish_here(other, tmp_path / "to", purge=True)


def test_what_an_earlier_version_published_is_purged(tmp_path: Path) -> None:
    unpack_before(tmp_path)
    to, dataset = tmp_path / "packed", Dataset.open(str(tmp_path / "root"))
    before = {split: keys_of(to, split) for split in ("train", "test")}
    gone = before["train"][3]
    remove(dataset, "keys", [gone])
    files = contents(to).keys()
    assert publish_here(dataset, to, purge=True, **ASKED).made == 1
    # DALI's indexes stay where that version put them.
    assert contents(to).keys() - {"revisions/000001.json"} >= {name for name in files if name.endswith(".idx")}
    assert not (to / "dali").exists()
    assert keys_of(to) == [key for key in before["train"] if key != gone]
    assert keys_of(to, "test") == before["test"]
    assert len(open_published(str(to))) == len(before["train"]) - 1


def copy_signed(folder: Path, to: str) -> Dataset:
    """The dataset that an upload gives: of all files those that are signed."""
    store = open_store(to)
    for name in read_sums((folder / "SHA256SUMS").read_bytes()):
        assert store.create_bytes(name, (folder / name).read_bytes())
    return Dataset.open(to)


def test_what_is_signed_of_columns_opens_as_a_dataset(
    dataset: Dataset, web: Web, tmp_path: Path, bucket: str
) -> None:
    grown = grow(dataset, web)
    mark_duplicates(grown)
    publish_here(grown, tmp_path / "to", layout="columns")
    copy = copy_signed(tmp_path / "to", f"{bucket}/copy")
    assert [status.missing for status in dataset_status(copy)] == [0, 0]
    assert [*verify_plan(copy), *verify_columns(copy)] == []
    assert sorted(sample.key for sample in open_stream(copy.store.root, ("color",)).samples(0)) == all_but()
    assert load_duplicates(copy, copy.receipts("images")) == load_duplicates(grown, grown.receipts("images"))


def test_what_an_earlier_version_left_unsigned_is_signed(tmp_path: Path) -> None:
    unpack_before(tmp_path)
    to, root = tmp_path / "columns", Dataset.open(str(tmp_path / "root"))
    before = contents(to)
    assert publish_here(root, to, layout="columns").made == 0
    after = contents(to)
    assert {name for name in before if before[name] != after.get(name)} <= {"SHA256SUMS", "README.md"}
    assert [status.missing for status in dataset_status(copy_signed(to, str(tmp_path / "copy")))] == [0, 0]
    assert publish_here(root, to, layout="columns").finished is None


def test_verify_names_the_shards_of_a_supplement_that_is_gone(dataset: Dataset, web: Web, tmp_path: Path) -> None:
    grow(dataset, web)
    (tmp_path / "root/supplements/000001.json").unlink()
    left = Dataset.open(str(tmp_path / "root"))
    assert [line.partition(",")[0] for line in verify_columns(left)] == [
        f"{column}/000002: has a receipt" for column in ("images", "color")
    ]


def test_a_purge_takes_its_options_from_the_publication(dataset: Dataset, tmp_path: Path) -> None:
    """So that the documented command works, whatever the publication was made with."""
    asked = {"splits": ("validation=0.5", "train=0.5"), "title": "Mine", "license": "cc0-1.0", "with_images": True}
    publish_here(dataset, tmp_path / "to", shard_size=3, **asked)
    remove(dataset, "keys", ["000000001"])
    with pytest.raises(RequestError, match=r"published with \w+"):
        publish(dataset, open_store(str(tmp_path / "to")), Publication(), {}, here)
    done = publish(dataset, open_store(str(tmp_path / "to")), Publication(), {}, here, purge=True)
    assert (done.made, done.plan.asked.title, done.plan.asked.shard_size) == (1, "Mine", 3)
    card = (tmp_path / "to/README.md").read_text()
    assert "Revision 1: 1 sample went" in card
    with pytest.raises(RequestError, match=r"published with title .Mine., this asks for .Yours."):
        publish(dataset, open_store(str(tmp_path / "to")), Publication(title="Yours"), {}, here, purge=True)


def test_a_purge_knows_licences_by_their_ids_and_their_names(tmp_path: Path) -> None:
    def licensed(samples: list[Sample]) -> list[Sample]:
        return [
            with_known(sample, source={"license": 4 if i % 2 else 7, "license_name": "Own"})
            for i, sample in enumerate(samples)
        ]

    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(4), 4), licensed)
    publish_here(dataset, tmp_path / "to", licenses=("7", "4", "CC0"))
    remove(dataset, "keys", ["k00001"])
    done = publish(dataset, open_store(str(tmp_path / "to")), Publication(), {}, here, purge=True)
    assert done.plan.asked.licenses == ("4", "7", "CC0")


def test_options_that_are_none_are_the_fault_of_the_publication(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to", with_images=True)
    for wrong in ({"shard_size": -1}, {"splits": [["train"]]}, {"title": 3}, {"licenses": "4"}):
        claim = json.loads((tmp_path / "to/publish.json").read_text()) | wrong
        with pytest.raises(DamagedShard, match=r"to/publish\.json: "):
            take_options(Publication(), claim, "to/publish.json")
