"""The source as its caller sees it: what it says of itself, what it plans, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.left_out import read_left_out
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import HERE
from tests.pipeline.laion_tables import planned, table, write, write_many


def plan(root: Path, source: LaionSource) -> Dataset:
    return plan_dataset(str(root), source, Geometry(64), 100)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    filters = Filters(min_aesthetic=5.0, language=("en",))
    write(tmp_path / "m.parquet", table(3, LANGUAGE=["en"] * 3))
    told = dict(LaionSource(str(tmp_path / "*.parquet"), filters, 2, 7).describe())
    assert json.loads(json.dumps(told)) == told
    digest = told.pop("metadata_sha256")
    assert len(digest) == 64
    assert told == {
        "kind": "laion",
        "min_aesthetic": 5.0,
        "max_watermark": None,
        "max_unsafe": None,
        "min_similarity": None,
        "min_size": None,
        "max_aspect": None,
        "language": ["en"],
        "samples": 2,
        "seed": 7,
        "metadata_files": 1,
        "metadata_rows": 3,
    }


def test_it_is_the_same_metadata_wherever_it_lies(tmp_path: Path) -> None:
    """And nothing that is published contains its path."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write_many(tmp_path / name, [10, 20])
    here, there, part = (
        LaionSource(str(tmp_path / pattern)).describe()
        for pattern in ("here/*.parquet", "there/part*", "here/*0.parquet")
    )
    assert here == there
    assert str(tmp_path) not in json.dumps(here)
    assert here != part


@pytest.mark.parametrize("change", ["name", "rows", "value", "more"])
def test_other_metadata_is_refused_on_a_rerun(change: str, tmp_path: Path) -> None:
    folder, root = tmp_path / "metadata", tmp_path / "root"
    folder.mkdir()
    source = LaionSource(write_many(folder, [10, 20]))
    assert plan(root, source).description == plan(root, source).description
    second = folder / "part-00001.parquet"
    if change == "name":
        second.rename(folder / "part-2.parquet")
    elif change == "more":
        write(folder / "part-2.parquet", table(1))
    else:
        write(second, table(21 if change == "rows" else 20))
    with pytest.raises(RequestError, match=rf"^{root} was made with metadata_\w+ .*; use another --out$"):
        plan(root, source)


def test_a_value_that_changed_in_place_shows_in_the_footer(tmp_path: Path) -> None:
    """Same name, size, and number of rows; the footer holds least and greatest values."""
    path = tmp_path / "m.parquet"
    digests = set()
    for score in (6.5, 6.25):
        write(path, table(1, AESTHETIC_SCORE=[score]))
        digests.add((path.stat().st_size, LaionSource(str(path)).describe()["metadata_sha256"]))
    assert len({size for size, _ in digests}) == 1
    assert len(digests) == 2


def test_a_plan(tmp_path: Path) -> None:
    source = LaionSource(write_many(tmp_path, [150, 150]), Filters(min_aesthetic=2.0), samples=110)
    dataset = plan(tmp_path / "root", source)
    rows, left_out = planned(source)
    assert [row for shard in dataset.shards for row in dataset.plan(shard)] == rows
    assert [len(dataset.plan(shard)) for shard in dataset.shards] == [100, 10]
    assert read_left_out(dataset.store) == left_out


def test_no_row_left_names_the_reasons(tmp_path: Path) -> None:
    source = LaionSource(write_many(tmp_path, [20, 10]), Filters(min_aesthetic=10.5, max_watermark=0.8), samples=5)
    with pytest.raises(RequestError) as caught:
        plan(tmp_path / "root", source)
    assert "aesthetic below minimum 30" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "root" / "dataset.json").exists()


def test_no_row_at_all(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no pictures"):
        plan(tmp_path / "root", LaionSource(write(tmp_path / "m.parquet", table(0))))


@pytest.mark.parametrize("samples", [0, -1])
def test_no_samples_are_a_wrong_request(samples: int) -> None:
    with pytest.raises(RequestError, match=f"^--samples must be at least 1, not {samples}$"):
        LaionSource("*.parquet", samples=samples)


GENERATE = """
import sys, numpy as np, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
path, rows, group = sys.argv[1], int(sys.argv[2]), 100_000
rng, writer = np.random.default_rng(0), None
for start in range(0, rows, group):
    number = pa.array(np.arange(start, start + group)).cast(pa.string())
    content = pa.table({
        "URL": pc.binary_join_element_wise("https://example.com/some/long/path/", number, ".jpg", ""),
        "TEXT": pc.binary_join_element_wise("A painting of a boat, number ", number, ", oil on canvas", ""),
        "WIDTH": rng.integers(50, 3000, group).astype(float),
        "HEIGHT": rng.integers(50, 3000, group).astype(float),
        "pwatermark": rng.random(group, np.float32),
        "AESTHETIC_SCORE": rng.random(group, np.float32) * 3 + 4,
    })
    writer = writer or pq.ParquetWriter(path, content.schema)
    writer.write_table(content)
writer.close()
"""

PLAN = """
import sys
from collections import Counter
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
samples = int(sys.argv[2]) or None
source = LaionSource(sys.argv[1], Filters(min_aesthetic=5.0, max_watermark=0.8, min_size=200), samples)
left_out, rows = Counter(), 0
for row in source.rows(left_out):
    rows += 1
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, rows + left_out.total(), peak)
"""


@pytest.mark.soak
@pytest.mark.parametrize("samples", [0, 600_000])
def test_the_memory_of_ten_million_rows_is_that_of_two(samples: int, tmp_path: Path) -> None:
    """Rows are drawn one by one, all that pass or a sample of them; the peak is of a process of its own."""
    peaks = []
    for millions in (2, 10):
        path = str(tmp_path / f"{millions}.parquet")
        subprocess.run([sys.executable, "-c", GENERATE, path, str(millions * 10**6)], check=True)
        run = subprocess.run(
            [sys.executable, "-c", PLAN, path, str(samples)], check=True, capture_output=True, text=True, cwd=HERE
        )
        rows, judged, kilobytes = map(int, run.stdout.split())
        assert judged == millions * 10**6
        assert rows == samples or not samples
        peaks.append(kilobytes)
    assert peaks[1] < 1.1 * peaks[0], peaks
