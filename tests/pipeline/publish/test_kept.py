"""What became no sample is not published: no address and no caption of it is in a copy of the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.publish.check import check_lists, plan_check
from t2i_shards.pipeline.publish.signature import read_sums
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.erase import begin_erasing, plan_erase
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.verify import verify_columns, verify_tables
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import digests, fill, problems, run_here
from tests.pipeline.publish.before import unpack_before
from tests.pipeline.publish.toys import contents, publish_here
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = ("a-0", "shut77-1", "away77-2", "a-3", "void77-4", "void77-5", "a-6", "late-7", "a-8")
"""Three to a shard."""
WHY = {
    "shut77-1": "opted out: X-Robots-Tag",
    "away77-2": "http 503",
    "void77-4": "refused: encoded",
    "void77-5": "http 404",
}
HIDDEN = (b"shut77", b"away77", b"void77")
GEOMETRY = Geometry(64)


def fill_all(dataset: Dataset, web: Web) -> Dataset:
    fill(dataset, web)
    run_here(plan_extract(dataset, ["color"]), dataset.shards)
    return dataset


def make(folder: Path, refused: Mapping[str, str] = WHY, late: bool = True) -> Dataset:
    """With a supplement of the rows that answered 503 at first; late-7 then comes after all, or fails again."""
    for number, name in enumerate(NAMES):
        put_picture(folder / "web", name, number)
    for name, why in {**refused, "late-7": "http 503"}.items():
        put_failure(folder / "web", name, why)
    web = Web(str(folder / "web"), NAMES)
    dataset = fill_all(plan_dataset(str(folder / "root"), web, GEOMETRY, 3), web)
    if late:
        put_picture(folder / "web", "late-7", 7)
    assert plan_retry(dataset)
    return fill_all(Dataset.open(dataset.store.root), web)


def told(folder: Path) -> dict[str, bytes]:
    """Path -> all that its bytes say, tables decoded with what is noted about them."""
    tables = {path.relative_to(folder).as_posix(): pq.read_table(path) for path in folder.rglob("*.parquet")}
    decoded = {f"{name}, decoded": f"{t.schema.metadata}{t.to_pylist()}".encode() for name, t in tables.items()}
    return {**contents(folder), **decoded}


def naming(folder: Path) -> list[str]:
    return [name for name, data in told(folder).items() if any(hidden in data for hidden in HIDDEN)]


@pytest.mark.parametrize(
    ("refused", "late"),
    [(WHY, True), ({**WHY, "a-3": "http 404"}, True), (WHY, False)],
    ids=["some", "all of a shard", "all of a supplement"],
)
def test_rows_that_became_no_sample_are_not_published(tmp_path: Path, refused: dict[str, str], late: bool) -> None:
    dataset, to = make(tmp_path, refused, late), tmp_path / "to"
    assert naming(tmp_path / "root")
    publish_here(dataset, to, layout="columns")
    assert naming(to) == []
    came = [name for name in NAMES if name not in refused and (late or name != "late-7")]
    kept = [f"{i:09d}" for i, name in enumerate(NAMES) if name in came]
    rows = [
        row for s in range(len(dataset.shards)) for row in pq.read_table(to / f"plan/{s:06d}.parquet").to_pylist()
    ]
    assert sorted(row["key"] for row in rows) == kept
    assert {row["captions"][0] for row in rows} == set(came)

    copy = Dataset.open(str(to))
    assert [status.drops for status in dataset_status(copy)] == [{}, {}]
    assert [(status.missing, status.stale) for status in dataset_status(copy)] == [(0, 0), (0, 0)]
    assert [*problems(to), *verify_columns(copy), *verify_tables(copy), *check_lists(copy.store)] == []
    check = plan_check(copy.store)
    assert [line for group in range(len(check.groups)) for line in check(group).errors] == []
    assert sum(segment.samples for segment in copy.segments) == copy.planned == len(kept)
    assert digests(to) == digests(tmp_path / "root")
    assert sorted(sample.key for sample in open_stream(str(to), ("color",)).samples(0)) == kept
    assert not plan_retry(copy)


def test_an_interrupted_copy_is_completed(tmp_path: Path) -> None:
    dataset, to = make(tmp_path), tmp_path / "to"
    publish_here(dataset, to, layout="columns")
    before = contents(to)
    for name in ("SHA256SUMS", "images/000001.json", "images/000001.rows.parquet", "plan/000001.parquet"):
        (to / name).unlink()
    (to / "supplements/000001.json").unlink()
    assert publish_here(dataset, to, layout="columns").made == 1
    assert contents(to) == before
    assert publish_here(dataset, to, layout="columns").finished is None


def test_a_copy_with_a_retry_that_an_earlier_version_began_is_completed(tmp_path: Path) -> None:
    dataset, to = make(tmp_path), tmp_path / "to"
    publish_here(dataset, to, layout="columns")
    (to / "SHA256SUMS").unlink()
    supplement = to / "supplements/000001.json"
    older = {name: value for name, value in json.loads(supplement.read_text()).items() if name != "new"}
    supplement.write_bytes(to_json(older))
    assert publish_here(dataset, to, layout="columns").finished
    assert problems(to) == []
    assert json.loads(supplement.read_text()) == older


def test_a_copy_that_an_earlier_version_began_is_completed_as_it_was(tmp_path: Path) -> None:
    unpack_before(tmp_path)
    to, root = tmp_path / "columns", Dataset.open(str(tmp_path / "root"))
    before = contents(to)
    assert "rows" not in json.loads(before["publish.json"])
    for name in ("SHA256SUMS", "images/000000.json", "images/000000.rows.parquet", "plan/000000.parquet"):
        (to / name).unlink()
    assert publish_here(root, to, layout="columns").made == 1
    after = contents(to)
    assert {name for name in before if before[name] != after.get(name)} <= {"SHA256SUMS", "README.md"}
    assert problems(to) == []
    assert set(read_sums(after["SHA256SUMS"])) >= {"plan/000000.parquet", "images/000000.rows.parquet"}


def test_a_copy_that_an_earlier_version_began_takes_the_records_of_erased_rows(
    tmp_path: Path,
) -> None:
    """It has all rows of the plan, of which one that never was a sample was erased meanwhile."""
    dataset, to = make(tmp_path), tmp_path / "to"
    publish_here(dataset, tmp_path / "now", layout="columns")
    claim = json.loads((tmp_path / "now/publish.json").read_text())
    to.mkdir()
    del claim["rows"]
    (to / "publish.json").write_text(json.dumps(claim))
    remove(dataset, "keys", ["000000001"])
    begin_erasing(stage := plan_erase(dataset))
    run_here(stage, sorted(stage.rows))
    publish_here(Dataset.open(dataset.store.root), to, layout="columns")
    assert problems(to) == []
    assert "plan/000000.erased.json" in read_sums((to / "SHA256SUMS").read_bytes())
    assert not any(b"shut77" in data for data in told(to).values())
    assert publish_here(Dataset.open(dataset.store.root), to, layout="columns").finished is None
