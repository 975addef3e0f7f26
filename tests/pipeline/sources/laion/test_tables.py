"""Lists of URLs as people have them: every kind of file and column that says what is needed is read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from tests.conftest import CASES
from tests.pipeline.laion_tables import planned, table, write

RECORDS = [
    {"url": "http://x/0", "caption": 'a "cat",\ton a mat', "width": "800", "similarity": 0.5},
    {"url": "http://x/1", "caption": "two", "width": None, "similarity": None},
    {"url": "http://x/2", "caption": "grün 猫", "width": 40, "similarity": "0.25"},
]


def write_csv(path: Path, records: list[dict[str, Any]] = RECORDS, encoding: str = "utf-8") -> None:
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def write_tsv(path: Path) -> None:
    lines = [list(RECORDS[0]), *([*r.values()] for r in RECORDS)]
    cells = [["" if cell is None else str(cell).replace("\t", " ") for cell in line] for line in lines]
    path.write_text("".join("\t".join(line) + "\n" for line in cells))


def write_jsonl(path: Path, encoding: str = "utf-8") -> None:
    path.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n", encoding=encoding)


def write_parquet(path: Path) -> None:
    columns: dict[str, list[Any]] = {name: [r[name] for r in RECORDS] for name in RECORDS[0]}
    columns["width"] = ["800", "", "40"]
    columns["similarity"] = [0.5, None, 0.25]
    write(path, pa.table(columns))


def pack(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same file packed by gzip, in two members."""

    def write_packed(path: Path) -> None:
        write(path)
        data = path.read_bytes()
        path.write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]))

    return write_packed


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.csv": write_csv,
    "utf16.csv": lambda path: write_csv(path, encoding="utf-16"),
    "marked.csv": lambda path: write_csv(path, encoding="utf-8-sig"),
    "a.tsv": write_tsv,
    "a.jsonl": write_jsonl,
    "a.ndjson": write_jsonl,
    "utf16.jsonl": lambda path: write_jsonl(path, "utf-16"),
    "a.csv.gz": pack(write_csv),
    "a.TSV.gz": pack(write_tsv),
    "a.jsonl.GZ": pack(write_jsonl),
    "utf16.csv.gz": pack(lambda path: write_csv(path, encoding="utf-16")),
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_table_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    (tmp_path / f"._{name}").write_bytes(b"of a Mac")
    for metadata in (tmp_path, tmp_path / name):
        rows, left_out = planned(LaionSource(str(metadata)))
        assert [(row.key, row.location, row.captions) for row in rows] == [
            ("000000000", "http://x/0", ('a "cat", on a mat',)),
            ("000000001", "http://x/1", ("two",)),
            ("000000002", "http://x/2", ("grün 猫",)),
        ]
        assert [row.extra for row in rows] == [
            {"similarity": 0.5, "width": 800},
            {"similarity": None, "width": None},
            {"similarity": 0.25, "width": 40},
        ]
        assert not left_out
    _, left_out = planned(LaionSource(str(tmp_path), Filters(min_similarity=0.3)))
    assert left_out == {"similarity unknown": 1, "similarity below minimum": 1}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-9], "must be a whole gzip file"),
        (lambda data: b"url,caption\n", "must be a whole gzip file"),
        (lambda data: data[:40] + b"\xff" * 40 + data[80:], "must be a whole gzip file"),
        (lambda data: gzip.compress(bytes(65 << 20)), "must unpack to at most 67108864 bytes, 100 times its size"),
    ],
)
def test_a_packed_table_that_is_damaged_or_a_bomb_is_refused(
    damage: Callable[[bytes], bytes], said: str, tmp_path: Path
) -> None:
    pack(write_csv)(tmp_path / "a.csv.gz")
    (tmp_path / "a.csv.gz").write_bytes(damage((tmp_path / "a.csv.gz").read_bytes()))
    with pytest.raises(RequestError, match=rf"a\.csv\.gz: {said}"):
        planned(LaionSource(str(tmp_path)))


def test_rows_of_several_files_are_numbered_through(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    write_jsonl(tmp_path / "b.jsonl")
    write_parquet(tmp_path / "c.parquet")
    source = LaionSource(str(tmp_path), samples=7)
    rows, left_out = planned(source)
    everything, _ = planned(LaionSource(str(tmp_path)))
    assert [row.key for row in everything] == [f"{i:09d}" for i in range(9)]
    assert {row.key for row in rows} < {row.key for row in everything}
    assert (len(rows), left_out) == (7, {"not sampled": 2})
    told = source.describe()
    assert told["metadata_rows"] == 9
    (tmp_path / "b.jsonl").write_text((tmp_path / "b.jsonl").read_text().replace("two", "owt"))
    assert replace(source).describe()["metadata_sha256"] != told["metadata_sha256"]


def test_a_list_without_header_is_known_by_its_urls(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('a "caption\thttp://x/0\nanother\thttp://x/1\n')
    rows, _ = planned(LaionSource(str(tmp_path)))
    assert [(row.location, row.captions) for row in rows] == [
        ("http://x/0", ('a "caption',)),
        ("http://x/1", ("another",)),
    ]
    (tmp_path / "a.tsv").write_text("7\thttp://x/0\tthird\n")
    with pytest.raises(RequestError, match=r"--caption-column names; it has 1, url, 3$"):
        planned(LaionSource(str(tmp_path)))
    rows, _ = planned(LaionSource(str(tmp_path), caption_column="3"))
    assert [row.captions for row in rows] == [("third",)]


def test_lines_that_are_no_rows_cost_only_themselves(tmp_path: Path) -> None:
    good = json.dumps(RECORDS[0])
    lines = [good, "{broken", "[1]", '{"url": 5}', '{"url": "http://x/9"}', "x" * (3 << 20), good]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, left_out = planned(LaionSource(str(tmp_path)))
    assert [row.key for row in rows] == ["000000000", f"{len(rows) + left_out.total() - 1:09d}"]
    assert left_out["no caption"] == 2, "of 5 and of http://x/9"
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "b.csv").write_text('url,caption\nhttp://x/0,"never closed\n' + "http://x/1,b\n" * 30_000)
    rows, _ = planned(LaionSource(str(tmp_path)))
    assert len(rows) > 19_000


def test_columns_by_option(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"url": ["http://x/0"], "u2": ["http://x/1"], "legend": ["b"]}))
    source = LaionSource(str(tmp_path), url_column="u2", caption_column="legend")
    [row] = planned(source)[0]
    assert (row.location, row.captions) == ("http://x/1", ("b",))
    assert source.describe()["url_column"] == "u2"
    with pytest.raises(RequestError, match=r"has no column 'u3' for --url-column; it has url, u2, legend$"):
        planned(LaionSource(str(tmp_path), url_column="u3", caption_column="legend"))


def test_what_a_dataset_of_earlier_versions_says_of_itself_is_unchanged(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(2))
    assert not {"url_column", "caption_column"} & LaionSource(str(tmp_path / "*.parquet")).describe().keys()


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.binary())])
def test_a_list_of_captions_is_several(kind: pa.DataType, tmp_path: Path) -> None:
    captions = pa.array([["a", " ", "b"], [" "], [], None, ["c"]], kind)
    urls = [f"http://x/{i}" for i in range(5)]
    write(tmp_path / "a.parquet", pa.table({"url": urls, "caption": captions}))
    (tmp_path / "b.jsonl").write_text(
        '{"url": "http://x/5", "caption": ["d", "e"]}\n{"url": "http://x/6", "caption": "f"}'
    )
    rows, left_out = planned(LaionSource(str(tmp_path)))
    assert [row.captions for row in rows] == [("a", "b"), ("c",), ("d", "e"), ("f",)]
    assert left_out == {"no caption": 3}


@pytest.mark.parametrize("kind", [pa.binary(32), pa.binary(), pa.large_binary()])
def test_digests_of_32_bytes(kind: pa.DataType, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"a")
    values = [digest.digest(), digest.hexdigest().encode()[:32], None]
    write(tmp_path / "a.parquet", table(3, sha256=pa.array(values, kind)))
    rows, _ = planned(LaionSource(str(tmp_path)))
    assert [row.digest for row in rows] == [digest.hexdigest(), None, None]


@pytest.mark.parametrize("values", [[[1, 2]], [True], [{"a": 1}]])
def test_a_column_that_nothing_asks_for_may_be_of_any_type(values: list[Any], tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(1, WIDTH=values, LANGUAGE=values, hash=values))
    [row] = planned(LaionSource(str(tmp_path)))[0]
    assert not {"width", "language", "hash"} & row.extra.keys()
    with pytest.raises(RequestError, match="its column WIDTH must hold numbers, not "):
        planned(LaionSource(str(tmp_path), Filters(min_size=1)))


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases, which is not beside this checkout")
def test_the_cases() -> None:
    found: dict[str, list[Any]] = {}
    for path in sorted((CASES / "metadata").iterdir()):
        if path.name != "m12_hf":
            rows, left_out = planned(LaionSource(str(path)))
            assert not left_out
            found[path.name] = [(row.captions, row.digest, dict(row.extra)) for row in rows]
    assert [extra["width"] for _, _, extra in found["m01_strwidth"]] == [800, 600, None]
    assert [extra["hash"] for _, _, extra in found["m04_types"]] == ["0123456789abcdef"] * 3
    assert [captions for captions, _, _ in found["m05_lists"]] == [("a", "b"), ("c",)]
    assert [digest for _, digest, _ in found["m17_shabin"]] == ["01" * 32, "02" * 32]
    assert {
        name: [captions for captions, _, _ in rows] for name, rows in found.items() if name.startswith("m07")
    } == {
        "m07.csv": [('a, "quoted" caption',)] * 2,
        "m07.jsonl": [("c",)] * 2,
        "m07.tsv": [("a caption",)] * 2,
    }
    assert [captions for captions, _, _ in found["m11_names"]] == [("a",), ("b",)]


def test_a_table_in_a_bucket_is_read_in_few_requests(bucket: str, tmp_path: Path) -> None:
    import boto3

    write_csv(tmp_path / "a.csv", [{"url": f"http://x/{i}", "caption": "c" * 100} for i in range(20_000)])
    boto3.client("s3").upload_file(str(tmp_path / "a.csv"), bucket.removeprefix("s3://"), "urls/a.csv")
    left_out = LeftOut()
    rows = list(LaionSource(f"{bucket}/urls").rows(left_out))
    assert (len(rows), rows[-1].location) == (20_000, "http://x/19999")
