"""Rows that failed in a way that may pass are tried again in shards of their own; every row is counted once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import read_seen
from t2i_shards.pipeline.dataset.last_tries import LastTries, list_lossy
from t2i_shards.pipeline.dataset.losses import Yield, host_of, yield_table
from t2i_shards.pipeline.dataset.outcomes import rows_path
from t2i_shards.pipeline.dataset.plan import plan_path, supplement_path
from t2i_shards.pipeline.dataset.supplement import plan_new, plan_retry
from t2i_shards.pipeline.download.reasons import kind_of
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.commit import receipt_path, tar_path
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages.count_losses import measure_yield
from tests.faults.toys import make_images, problems
from tests.pipeline.report.crawl import look_here
from tests.pipeline.web import Web, put_failure, put_picture

FAILURES = {
    "a-1": "http 503",
    "a-3": "http 404",
    "b-4": "opted out: X-Robots-Tag",
    "b-5": "http 429",
    "b-6": "not a picture",
}
GEOMETRY = Geometry(size=64)


@pytest.fixture
def web(tmp_path: Path) -> Web:
    names = tuple(f"{'a' if i < 4 else 'b'}-{i}" for i in range(8))
    for i, name in enumerate(names):
        if name in FAILURES:
            put_failure(tmp_path / "web", name, FAILURES[name])
        else:
            put_picture(tmp_path / "web", name, i)
    return Web(str(tmp_path / "web"), names)


def make(root: str, web: Web) -> Dataset:
    return make_images(root, web, 3)


def passing_in(dataset: Dataset) -> dict[str, int]:
    """key -> the shard where it was last tried, of the rows that may still be obtained."""
    images = dataset.receipts(IMAGES)
    tries = LastTries(dataset, images)
    failed = [item for shard in list_lossy(dataset, images) for item in tries.find_failed(shard).items()]
    return {key: shard for key, (shard, why) in failed if kind_of(why) == "passing"}


def measure(dataset: Dataset) -> Yield:
    return measure_yield(dataset, dataset.receipts(IMAGES), look_here, hosts=True)


def keys(dataset: Dataset) -> list[str]:
    return [sample.key[-1] for shard in dataset.shards for sample in dataset.load(IMAGES, shard)]


def test_only_what_may_pass_is_planned_again(web: Web, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    dataset = make(root, web)
    assert passing_in(dataset) == {"000000001": 0, "000000005": 1}
    segment = plan_retry(dataset)
    assert segment is not None
    assert (segment.first, segment.shards, segment.samples) == (3, 1, 2)
    again = Dataset.open(root)
    assert list(again.shards) == [0, 1, 2, 3]
    assert [row.key[-1] for row in again.plan(3)] == ["1", "5"]
    assert again.left((IMAGES,)) == [3]
    assert again.description == dataset.description


def test_what_answers_now_is_a_sample_and_the_rest_may_be_tried_again(web: Web, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    plan_retry(make(root, web))
    put_picture(Path(web.folder), "a-1", 1)
    dataset = make(root, web)
    assert sorted(keys(dataset)) == ["0", "1", "2", "7"]
    assert passing_in(dataset) == {"000000005": 3}
    plan_retry(dataset)
    put_picture(Path(web.folder), "b-5", 5)
    dataset = make(root, web)
    assert sorted(keys(dataset)) == ["0", "1", "2", "5", "7"]
    assert (list(dataset.shards), passing_in(dataset)) == ([0, 1, 2, 3, 4], {})
    assert plan_retry(dataset) is None
    assert problems(root) == []


def test_a_retry_that_died_while_it_planned_is_completed(web: Web, tmp_path: Path) -> None:
    dataset = make(str(tmp_path / "root"), web)
    plan_retry(dataset)
    whole = (tmp_path / "root" / plan_path(3)).read_bytes()
    (tmp_path / "root" / supplement_path(1)).unlink()
    assert list(Dataset.open(str(tmp_path / "root")).shards) == [0, 1, 2]
    plan_retry(Dataset.open(str(tmp_path / "root")))
    assert (tmp_path / "root" / plan_path(3)).read_bytes() == whole
    assert list(Dataset.open(str(tmp_path / "root")).shards) == [0, 1, 2, 3]


def test_an_unfinished_dataset_is_not_planned_again(web: Web, tmp_path: Path) -> None:
    dataset = make(str(tmp_path / "root"), web)
    for path in (tar_path(IMAGES, 1), receipt_path(IMAGES, 1), rows_path(1)):
        (tmp_path / "root" / path).unlink()
    with pytest.raises(IncompleteError, match="--retry-failed needs every shard to be done, 1 of 3 are not"):
        plan_retry(dataset)


def test_a_picture_that_was_seen_once_is_the_only_one_taken(web: Web, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    dataset = make(root, web)
    seen = read_seen(dataset.store, 0)
    assert seen is not None
    # A first attempt got the picture and died; the second, whose shard counts, got a 503.
    (tmp_path / "root/plan/000000.seen.parquet").unlink()
    from t2i_shards.pipeline.dataset.download_commit import write_seen

    write_seen(dataset.store, 0, seen | {"000000001": "0" * 64})
    plan_retry(dataset)
    put_picture(Path(web.folder), "a-1", 1)
    assert dataset.plan(3)[0].digest == "0" * 64
    assert make(root, web).receipts(IMAGES)[3].drops == {
        "not the picture of the metadata's digest": 1,
        "http 429": 1,
    }


def test_a_damaged_supplement_is_named(web: Web, tmp_path: Path) -> None:
    root = tmp_path / "root"
    plan_retry(make(str(root), web))
    make(str(root), web)
    plan = root / plan_path(3)
    data = plan.read_bytes()
    plan.unlink()
    plan.write_bytes(data.replace(b"a-1", b"a-7"))
    assert problems(str(root)) == ["plan: its digest is not the one in its supplement"]
    supplement = root / supplement_path(1)
    supplement.unlink()
    supplement.write_text('{"first": 3}')
    with pytest.raises(DamagedShard, match=r"supplements/000001.json: not a supplement"):
        Dataset.open(str(root))


def test_two_retries_of_other_rows_do_not_mix(web: Web, tmp_path: Path) -> None:
    dataset = make(str(tmp_path / "root"), web)
    other = Dataset.open(str(tmp_path / "root"))
    plan_retry(dataset)
    (tmp_path / "root" / plan_path(3)).unlink()
    put = other.store.create_bytes(plan_path(3), b"other rows")
    assert put
    with pytest.raises(RequestError, match="was planned from other rows"):
        plan_retry(other)


def test_the_yield_counts_every_row_once_by_its_last_try(web: Web, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    dataset = make(root, web)
    found = measure(dataset)
    assert (found.planned, found.samples) == (8, 3)
    assert found.reasons == Counter(FAILURES.values())
    assert found.kinds == {"passing": 2, "gone": 1, "opted out": 1, "unusable": 1}
    assert found.hosts["b.example"] == Counter(v for k, v in FAILURES.items() if k[0] == "b")
    plan_retry(dataset)
    put_picture(Path(web.folder), "a-1", 1)
    put_failure(Path(web.folder), "b-5", "http 404")
    found = measure(make(root, web))
    assert (found.planned, found.samples) == (8, 4)
    assert found.reasons.total() == 4
    assert found.reasons["http 404"] == 2
    assert found.kinds == {"gone": 2, "opted out": 1, "unusable": 1}


def test_the_table_names_hosts_and_kinds(web: Web, tmp_path: Path) -> None:
    table = yield_table(measure(make(str(tmp_path / "root"), web)))
    assert "  passing: 2 of 8 rows" in table
    assert "  gone, http 404: 1" in table
    assert table[-2].startswith("  b.example: 3 rows, 1 of them ")
    assert table[-1].startswith("  a.example: 2 rows, 1 of them ")


@pytest.mark.parametrize(("location", "host"), [("http://A.b:80/c", "a.b"), ("http://[bad", ""), ("x.png", "")])
def test_host_of(location: str, host: str) -> None:
    assert host_of(location) == host


def test_what_a_damaged_plan_names_no_more_is_not_new(tmp_path: Path) -> None:
    for i in range(4):
        put_picture(tmp_path / "folder", f"{i}", i)
    source = FolderSource(str(tmp_path / "folder"), captions="filename")
    dataset = make_images(tmp_path / "root", source, 2)
    plan = tmp_path / "root" / plan_path(1)
    table = pq.read_table(plan)
    for damaged in (table.slice(0, 1), table.set_column(0, "key", pa.array(["x", "y"]))):
        pq.write_table(damaged, plan)
        with pytest.raises(RequestError, match="plan: its digest is not the one in dataset"):
            plan_new(dataset, source)
    plan.unlink()
    with pytest.raises(RequestError, match=r"plan/000001\.parquet: missing; restore it"):
        plan_new(dataset, source)
    assert list(dataset.shards) == [0, 1]
