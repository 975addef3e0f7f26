"""The metadata's files: found by a glob anywhere, in order, and refused in one line when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.metadata import find_metadata
from t2i_shards.pipeline.sources.laion.source import LaionSource
from tests.pipeline.laion_tables import planned, table, write, write_many


def refusal(metadata: str, filters: Filters | None = None) -> str:
    """The line with which it is refused, and that it is one."""
    with pytest.raises(RequestError) as caught:
        planned(LaionSource(metadata, filters or Filters()))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b/0.parquet", "a/1.parquet", "a/0.parquet", "c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, table(2, TEXT=[name] * 2))
    (tmp_path / "a" / "folder.parquet").mkdir()
    rows, _ = planned(LaionSource(str(tmp_path / "**" / "*.parquet")))
    assert [row.captions[0] for row in rows[::2]] == ["a/0.parquet", "a/1.parquet", "b/0.parquet", "c.parquet"]
    assert [row.key for row in rows] == [f"{i:09d}" for i in range(8)]


def test_a_file_on_an_object_store(bucket: str, tmp_path: Path) -> None:
    import boto3

    metadata = write_many(tmp_path, [300, 200], group=64)
    for path in tmp_path.glob("*.parquet"):
        boto3.client("s3").upload_file(str(path), bucket.removeprefix("s3://"), f"meta/{path.name}")
    there, here = LaionSource(f"{bucket}/meta/*.parquet", samples=50), LaionSource(metadata, samples=50)
    assert planned(there) == planned(here)
    assert there.describe() == here.describe()


@pytest.mark.parametrize("pattern", ["*.parquet", "nothing.parquet", ""])
def test_no_file(pattern: str, tmp_path: Path) -> None:
    metadata = f"{tmp_path}/{pattern}"
    line = refusal(metadata)
    assert line.startswith(
        "--metadata must match tables (.parquet .csv .tsv .jsonl .ndjson .csv.gz …), such as 'DIR/*.parquet',"
    )
    assert line.endswith(f"; none match {metadata!r}")


def test_a_place_that_nothing_knows() -> None:
    assert refusal("gopher://metadata/*.parquet").startswith("cannot open gopher://metadata/*.parquet: ")


@pytest.mark.parametrize(
    ("content", "filters", "said"),
    [
        (table(1, URL=None), {}, "or the one that --url-column names; it has TEXT, WIDTH, HEIGHT, "),
        (table(1, TEXT=None), {}, "or the one that --caption-column names; it has URL, WIDTH, HEIGHT, "),
        (
            table(1, pwatermark=None),
            {"max_watermark": 0.8},
            "must have a column pwatermark or watermark_score for --max-watermark; it has URL, TEXT, ",
        ),
        (
            table(1, WIDTH=None),
            {"min_size": 1},
            "must have a column original_width or width for --min-size; it has",
        ),
        (
            table(1, HEIGHT=None),
            {"max_aspect": 2.0},
            "must have a column original_height or height for --max-aspect",
        ),
        (
            table(1),
            {"language": ("en",)},
            "must have a column language or lang for --language; it has URL, TEXT, ",
        ),
        (table(1, similarity=None), {"min_similarity": 0.1}, "for --min-similarity; it has"),
        (table(1, punsafe=None), {"max_unsafe": 0.1}, "must have a column punsafe for --max-unsafe; it has"),
        (table(1, AESTHETIC_SCORE=None), {"min_aesthetic": 5.0}, "for --min-aesthetic; it has"),
        (
            table(1, AESTHETIC_SCORE=[[6]]),
            {"min_aesthetic": 5.0},
            "its column AESTHETIC_SCORE must hold numbers, not list<",
        ),
        (table(1, URL=[5]), {}, "its column URL must hold texts, not int64"),
        (table(1, TEXT=[[5]]), {}, "its column TEXT must hold texts, not list<"),
    ],
)
def test_columns_that_lack_or_are_of_another_kind(
    content: pa.Table, filters: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The second of two files has the fault, and is named."""
    write(tmp_path / "a.parquet", table(1, LANGUAGE=["en"]))
    write(tmp_path / "b.parquet", content)
    line = refusal(str(tmp_path / "*.parquet"), Filters(**filters))
    assert line.startswith(f"{tmp_path}/b.parquet: ")
    assert said in line


def test_a_column_twice(tmp_path: Path) -> None:
    content = pa.Table.from_arrays([pa.array(["u"]), pa.array(["v"]), pa.array(["t"])], ["URL", "URL", "TEXT"])
    path = write(tmp_path / "m.parquet", content)
    assert refusal(path) == f"{path}: must have each column once, and has URL several times"


def damage(path: Path, what: str) -> None:
    data = bytearray(path.read_bytes())
    if what == "empty":
        data = bytearray()
    elif what == "text":
        data = bytearray(b"URL,TEXT\nhttp://example.com,a\n")
    elif what == "cut":
        data = data[: len(data) // 2]
    elif what == "footer":
        length = int.from_bytes(data[-8:-4], "little")
        data[-8 - length : -8 - length // 2] = bytes(length - length // 2)
    elif what == "page":
        middle = len(data) // 2
        data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["empty", "text", "cut", "footer", "page"])
@pytest.mark.parametrize("samples", [None, 10])
def test_a_damaged_file_is_refused_by_name(what: str, samples: int | None, tmp_path: Path) -> None:
    """Wherever the damage is; in the middle of the data it shows only when the rows are read."""
    urls = [f"http://{np.random.default_rng(i).bytes(20).hex()}" for i in range(5000)]
    write(tmp_path / "a.parquet", table(10))
    path = write(tmp_path / "b.parquet", table(5000, URL=urls), group=500)
    damage(Path(path), what)
    with pytest.raises(RequestError) as caught:
        planned(LaionSource(str(tmp_path / "*.parquet"), samples=samples))
    assert re.fullmatch(rf"{re.escape(path)}: must be an undamaged parquet file \(.+\)", str(caught.value))


def test_a_flipped_bit_in_a_page_with_a_checksum(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "m.parquet", table(1000), compression="none", write_page_checksum=True))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"example.com/500.jpg", b"example.org/500.jpg"))
    assert path.read_bytes() != data
    assert "must be an undamaged parquet file" in refusal(str(path))


def test_positions_run_through_all_files(tmp_path: Path) -> None:
    files = find_metadata(write_many(tmp_path, [5, 0, 7, 1]), Filters())
    assert [(file.name, file.start, file.rows) for file in files] == [
        ("part-00000.parquet", 0, 5),
        ("part-00001.parquet", 5, 0),
        ("part-00002.parquet", 5, 7),
        ("part-00003.parquet", 12, 1),
    ]
    positions = [
        start + i for file in files for start, columns in file.read(2) for i in range(len(columns["url"]))
    ]
    assert positions == list(range(13))
