"""A plan that is made in workers is the plan, byte for byte, and continues as it does."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.base import Counted, Part, Seen, Source, unseen
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.sources.tables.find import ROW_SECONDS
from t2i_shards.pipeline.sources.tables.parquet_table import ParquetTable
from t2i_shards.pipeline.stages import plan_parts
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.plan_parts import Run, WriteParts, find_parts, write_parts
from tests.pipeline.laion_tables import table, write
from tests.pipeline.publish.toys import contents
from tests.pipeline.stages.runs import backwards, here, in_a_worker

SIZES = (7, 1, 90, 3, 0, 2, 55, 1)


@pytest.fixture(autouse=True)
def few_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_parts, "LONG", 0.001)


def laion(folder: Path) -> Source:
    """Two thirds of the rows pass; some captions are too long, and no row of one table passes."""
    start = 0
    for number, size in enumerate(SIZES):
        texts = [f"picture {i} " + ("word " * 1000 if i % 11 == 0 else "") for i in range(start, start + size)]
        scores = [0.0 if i % 3 == 0 or number == 3 else 9.0 for i in range(start, start + size)]
        urls = [f"http://example.com/{i}" for i in range(start, start + size)]
        content = table(size, URL=urls, TEXT=texts, AESTHETIC_SCORE=pa.array(scores, pa.float64()))
        write(folder / f"{number}.parquet", content, group=20)
        start += size
    return LaionSource(str(folder / "*.parquet"), Filters(min_aesthetic=5))


def pictures(folder: Path) -> Source:
    """Every fifth row has no caption."""
    for number, size in enumerate(SIZES):
        texts = ["" if i % 5 == 0 else f"a b{i} " + "word " * (1000 * (i % 7 == 0)) for i in range(size)]
        names = [f"{i}.jpg" for i in range(size)]
        content = {"file_name": pa.array(names, pa.string()), "text": pa.array(texts, pa.string())}
        pq.write_table(pa.table(content), folder / f"{number}.parquet")
    return TableSource(str(folder / "*.parquet"))


@pytest.fixture(params=[laion, pictures])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    (tmp_path / "tables").mkdir()
    made: Source = request.param(tmp_path / "tables")
    return made


@pytest.mark.parametrize("shard_size", [3, 10, 61, 1000])
def test_the_files_are_those_of_one_process(source: Source, tmp_path: Path, shard_size: int) -> None:
    seen = LeftOut()
    plan_dataset(str(tmp_path / "one"), source, Geometry(64), shard_size)
    whole = contents(tmp_path / "one")
    assert {"plan/left_out.json", "plan/notes.json"} <= whole.keys()
    plan_dataset(
        str(tmp_path / "parts"), source, Geometry(64), shard_size, lambda n: seen.update(rows=n), here(backwards)
    )
    assert contents(tmp_path / "parts") == whole
    assert seen["rows"] == sum(SIZES)


@pytest.mark.parametrize("run", [here(), None])
def test_each_table_is_measured_once(source: Source, tmp_path: Path, run: Run | None) -> None:
    with patch.object(ParquetTable, "measure", autospec=True, side_effect=ParquetTable.measure) as measure:
        source.describe()
        measure.reset_mock()
        plan_dataset(str(tmp_path / "one"), source, Geometry(64), 10, run=run)
        assert measure.call_count == len(SIZES)
        # Another plan, of what the tables are by then.
        plan_dataset(str(tmp_path / "two"), source, Geometry(64), 10, run=run)
        assert measure.call_count == 2 * len(SIZES)
    assert len(pickle.dumps(source)) < 1000, "what was measured stays here"


def test_a_real_worker(tmp_path: Path) -> None:
    source = laion(tmp_path)
    plan_dataset(str(tmp_path / "one"), source, Geometry(64), 10)
    plan_dataset(str(tmp_path / "parts"), source, Geometry(64), 10, run=in_a_worker)
    assert contents(tmp_path / "parts") == contents(tmp_path / "one")


def test_it_continues_after_a_kill(source: Source, tmp_path: Path) -> None:
    """Whichever way the plan was begun."""
    plan_dataset(str(tmp_path / "one"), source, Geometry(64), 10)
    whole = contents(tmp_path / "one")
    for name in ("dataset.json", "plan/left_out.json", "plan/000002.parquet", "plan/000007.parquet"):
        (tmp_path / "one" / name).unlink()
    plan_dataset(str(tmp_path / "one"), source, Geometry(64), 10, run=here())
    assert contents(tmp_path / "one") == whole


def test_what_is_planned_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = PlanDrafts(open_store(str(tmp_path)), "of a test")
    source = laion(tmp_path)
    assert isinstance(source, LaionSource)
    assert [round(part.seconds / ROW_SECONDS) for part in find_parts(source, drafts)] == list(SIZES)
    assert find_parts(LaionSource(source.metadata, samples=20), drafts) == ()
    assert find_parts(LaionSource(str(tmp_path / "2.parquet")), drafts) == ()
    assert find_parts(ScenesSource(1000), drafts) == ()
    monkeypatch.setattr(plan_parts, "LONG", 0.01)
    assert find_parts(source, drafts) == ()


class Fickle(Part):
    """Counts 5 rows, and gives 4."""

    seconds = 1.0

    def count(self, left_out: Counter[str], seen: Seen = unseen) -> Counted:
        return Counted(5)

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        return (Row(f"{i}", f"{i}.jpg") for i in range(4))


def test_a_source_that_changed_in_between(tmp_path: Path) -> None:
    drafts = PlanDrafts(open_store(str(tmp_path)), "of a test")
    with pytest.raises(IncompleteError, match="part 0 of the source gave 4 rows, and 5 when counted"):
        write_parts(ScenesSource(1), drafts, [Fickle()], 3, LeftOut(), unseen, here())


def test_a_part_in_which_no_shard_begins_is_not_read(tmp_path: Path) -> None:
    stage = WriteParts(open_store(str(tmp_path)), [Fickle(), Fickle()], [0, 5, 8], 10)
    assert stage(1).digests == ()
    assert list(tmp_path.iterdir()) == []
