"""Tables of pictures: whatever form they have, each row gives its own picture and captions, or its reason."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.ingest import IngestTable, IngestTars
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.table.source import TableSource, names_urls_alone
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import CASES
from tests.faults.toys import make_images
from tests.pipeline.image.pictures import gradient, save

FILES = [save(gradient(70 + i, 80), "PNG") for i in range(5)]
CAPTIONS = [f"picture {i}" for i in range(5)]


def write_bytes(folder: Path, group: int = 2) -> None:
    table = pa.table({"image": pa.array(FILES, pa.binary()), "caption": CAPTIONS})
    pq.write_table(table, folder / "a.parquet", row_group_size=group)


def write_datasets(folder: Path) -> None:
    """By the real library."""
    datasets = pytest.importorskip("datasets")
    pictures = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(FILES)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    made = datasets.Dataset.from_dict({"image": pictures, "text": CAPTIONS}, features=features)
    made.to_parquet(folder / "train-00000-of-00001.parquet")


def write_files(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for i, data in enumerate(FILES):
        (folder / f"pictures/{i}.png").write_bytes(data)


def write_csv(folder: Path) -> None:
    write_files(folder)
    with open(folder / "a.csv", "w", newline="") as file:
        rows = [("file_name", "text"), *((f"pictures/{i}.png", text) for i, text in enumerate(CAPTIONS))]
        csv.writer(file).writerows(rows)


def write_jsonl(folder: Path) -> None:
    write_files(folder)
    rows = [{"file_name": f"pictures/{i}.png", "text": text} for i, text in enumerate(CAPTIONS)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def write_paths(folder: Path) -> None:
    write_files(folder)
    pq.write_table(
        pa.table({"path": [f"pictures/{i}.png" for i in range(5)], "text": CAPTIONS}), folder / "a.parquet"
    )


WRITERS = [write_bytes, write_datasets, write_csv, write_jsonl, write_paths]


def planned(pattern: Path | str, **columns: Any) -> tuple[list[Row], Counter[str]]:
    left_out = LeftOut()
    return list(TableSource(str(pattern), **columns).rows(left_out)), left_out


def contents(pattern: Path | str, rows: list[Row], scratch: Path, **columns: Any) -> list[Any]:
    """The bytes of each row, or why there are none."""
    found: list[Any] = []
    scratch.mkdir(exist_ok=True)
    with TableSource(str(pattern), **columns).gather(rows, 64, scratch) as opener:
        for row in rows:
            try:
                found.append(opener(row).content)
            except Drop as drop:
                found.append(drop.reason)
    return found


@pytest.mark.parametrize("write", WRITERS)
def test_every_form_gives_the_same_pictures(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "set")
    assert not names_urls_alone(str(tmp_path / "set"))
    rows, left_out = planned(tmp_path / "set")
    assert [(row.key, row.captions) for row in rows] == [(f"{i:09d}", (text,)) for i, text in enumerate(CAPTIONS)]
    assert not left_out
    assert contents(tmp_path / "set", rows, tmp_path / "s") == FILES
    for some in (rows[1:3], rows[4:], rows[::2], rows[3:1:-1]):
        assert contents(tmp_path / "set", some, tmp_path / "s") == [FILES[int(row.key)] for row in some]


def test_a_table_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    import boto3

    write_bytes(tmp_path)
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    client.upload_file(str(tmp_path / "a.parquet"), name, "set/a.parquet")
    client.put_object(
        Bucket=name, Key="paths/a.jsonl", Body=b'{"image": "x/1.png", "text": "t"}\n{"image": "../a", "text": "t"}'
    )
    client.put_object(Bucket=name, Key="paths/x/1.png", Body=FILES[0])
    rows, _ = planned(f"{bucket}/set")
    assert contents(f"{bucket}/set", rows, tmp_path / "s") == FILES
    rows, _ = planned(f"{bucket}/paths/*.jsonl")
    assert contents(f"{bucket}/paths/*.jsonl", rows, tmp_path / "s") == [FILES[0], "path out of the folder"]


def test_ingest_makes_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_bytes(tmp_path / "set")
    dataset = make_images(tmp_path / "root", TableSource(str(tmp_path / "set")), 2)
    assert not any(receipt.drops for receipt in dataset.receipts(IMAGES).values())
    assert dataset.description.is_crawl
    [sample] = dataset.load(IMAGES, 2)
    assert read_info(sample).captions == ("picture 4",)
    assert read_info(sample).source == {"location": "a.parquet#4", "table": "a.parquet", "row": 4}
    pq.write_table(pa.table({"image": FILES[:1], "caption": ["c"]}), tmp_path / "set/b.parquet")
    with pytest.raises(RequestError, match="was made with rows 5, this asks for 6"):
        make_images(tmp_path / "root", TableSource(str(tmp_path / "set")), 2)


def test_columns_by_option_and_lists_of_captions(tmp_path: Path) -> None:
    table = {"image": FILES[:3], "better": FILES[2::-1], "text": ["t"] * 3, "many": [["a", "b"], [" "], None]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    columns = {"image_column": "better", "caption_column": "many"}
    rows, left_out = planned(tmp_path, **columns)
    assert [(row.key, row.captions) for row in rows] == [("000000000", ("a", "b"))]
    assert left_out == {"no caption": 2}
    assert contents(tmp_path, rows, tmp_path / "s", **columns) == [FILES[2]]


@pytest.mark.parametrize(
    "kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())], ids=str
)
def test_bytes_are_pictures_however_arrow_lays_them_out(kind: Any, tmp_path: Path) -> None:
    table = pa.table({"image": pa.array(FILES, pa.binary()).cast(kind), "caption": CAPTIONS})
    pq.write_table(table, tmp_path / "a.parquet")
    rows, _ = planned(tmp_path)
    assert contents(tmp_path, rows, tmp_path / "s") == FILES


def test_a_row_without_picture_is_a_named_drop(tmp_path: Path) -> None:
    struct = [
        {"bytes": None, "path": "x.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": FILES[0], "path": "/etc/passwd"},
    ]
    pq.write_table(pa.table({"image": struct, "caption": ["a"] * 4}), tmp_path / "a.parquet")
    rows, _ = planned(tmp_path)
    assert contents(tmp_path, rows, tmp_path / "s") == ["no such file", "no picture", "no picture", FILES[0]]
    (tmp_path / "x.png").write_bytes(FILES[1])
    assert contents(tmp_path, rows[:1], tmp_path / "s") == [FILES[1]]


def test_a_file_that_comes_later_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image": "x.png", "text": "t"}\n{"image": "y.png", "text": "t"}')
    struct = [{"bytes": None, "path": "x.png"}, {"bytes": FILES[0], "path": "x.png"}]
    pq.write_table(pa.table({"image": struct, "caption": ["a"] * 2}), tmp_path / "b.parquet")
    rows, _ = planned(tmp_path)
    source = TableSource(str(tmp_path))
    failed = [(rows[0], "no such file"), (rows[1], "file not readable"), (rows[2], "no such file")]
    assert list(source.again(failed)) == []
    (tmp_path / "x.png").write_bytes(FILES[0])
    assert list(source.again(failed)) == [rows[0], rows[2]]
    assert list(source.again((row, "truncated") for row in rows)) == []


def write_struct(folder: Path) -> None:
    """The bytes of the first row lie in the table, those of the second in a file."""
    struct = [{"bytes": FILES[0], "path": "0.png"}, {"bytes": None, "path": "1.png"}]
    pq.write_table(pa.table({"image": struct, "caption": ["a", "b"]}), folder / "a.parquet")
    (folder / "1.png").write_bytes(FILES[1])


@pytest.mark.parametrize(("write", "gone"), [(write_struct, "a.parquet"), (write_struct, "."), (write_csv, ".")])
def test_what_is_gone_at_work_is_no_drop(write: Callable[[Path], None], gone: str, tmp_path: Path) -> None:
    """Nothing is committed without the pictures, and all of them are there when the tables are."""
    folder, source = tmp_path / "set", TableSource(str(tmp_path / "set"))
    folder.mkdir()
    write(folder)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 5)
    stage = Ingest(dataset, source, {})
    stage.setup()
    (folder / gone).rename(tmp_path / "aside")
    with pytest.raises(RequestError, match=r"set(/a\.parquet)?: must exist on every machine that works$"):
        stage(0)
    assert dataset.left([IMAGES]) == [0]
    (tmp_path / "aside").rename(folder / gone)
    assert stage(0).receipts[IMAGES].drops == {}


def test_a_table_that_has_fewer_rows_at_work_is_refused(tmp_path: Path) -> None:
    write_bytes(tmp_path)
    rows, _ = planned(tmp_path)
    pq.write_table(pq.read_table(tmp_path / "a.parquet").slice(0, 2), tmp_path / "a.parquet")
    assert contents(tmp_path, rows[:2], tmp_path / "s") == FILES[:2]
    with pytest.raises(RequestError, match=r"a\.parquet: must have the rows that were planned, and has fewer now"):
        contents(tmp_path, rows[1:], tmp_path / "s")


def test_no_path_leads_out_of_the_tables_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.png").write_bytes(FILES[0])
    (tmp_path / "set/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "set/a.png").write_bytes(FILES[1])
    names = [str(tmp_path / "secret.png"), "../secret.png", "link.png", "", str(tmp_path / "set/a.png")]
    (tmp_path / "set/a.jsonl").write_text("\n".join(json.dumps({"image": name, "text": "t"}) for name in names))
    rows, _ = planned(tmp_path / "set")
    outside = ["path out of the folder"] * 2 + ["link out of the folder"]
    assert contents(tmp_path / "set", rows, tmp_path / "s") == [*outside, "no picture", FILES[1]]


def test_absolute_paths_that_lead_out_are_told_the_rule(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "a.png").write_bytes(FILES[0])
    (tmp_path / "set/a.csv").write_text(f"image,text\n{tmp_path}/a.png,t\n")
    options, engine = IngestOptions(str(tmp_path / "root")), EngineOptions("local", 1)
    problems = IngestTable(table=str(tmp_path / "set"), options=options, engine=engine).run().problems
    assert "paths count from the folder of their table and may not lead out of it" in " ".join(problems)
    assert "path out of the folder" in " ".join(problems)


@pytest.mark.parametrize(
    ("table", "columns", "said"),
    [
        ({"caption": ["a"], "x": [1]}, {}, "must have a column of pictures, which --image-column names"),
        ({"image": [FILES[0]], "x": ["a"]}, {}, "or the one that --caption-column names; it has image, x"),
        ({"caption": ["a"], "x": [1]}, {"image_column": "x"}, "its column x must hold the bytes of pictures"),
        ({"caption": ["a"]}, {"image_column": "x"}, "has no column 'x' for --image-column; it has caption"),
        ({"image": ["http://x/0"], "caption": ["a"]}, {}, "its column image holds URLs; name it by --url-column"),
    ],
)
def test_what_a_table_lacks_is_named(table: Any, columns: dict[str, str], said: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(RequestError) as caught:
        planned(tmp_path, **columns)
    assert str(caught.value).startswith(f"{tmp_path}/a.parquet: ")
    assert said in str(caught.value)


def test_a_picture_cannot_unpack_to_gigabytes(tmp_path: Path) -> None:
    bomb = pa.table({"image": [b"\0" * (300 << 20)], "caption": ["a"]})
    pq.write_table(bomb, tmp_path / "a.parquet", use_dictionary=False, compression="zstd")
    rows, _ = planned(tmp_path)
    with pytest.raises(RequestError, match=r"it would unpack to \d+ bytes"):
        contents(tmp_path, rows, tmp_path / "s")


@pytest.mark.usefixtures("in_this_process")
def test_urls_are_downloaded_by_the_guarded_client(tmp_path: Path) -> None:
    """A loopback address is refused and --min-yield is applied, as by ingest laion."""
    (tmp_path / "a.csv").write_text("url,caption\nhttp://127.0.0.1:1/a.jpg,a\n")
    assert names_urls_alone(str(tmp_path / "a.csv"))
    command = IngestTable(
        table=str(tmp_path / "a.csv"),
        options=IngestOptions(str(tmp_path / "root")),
        engine=EngineOptions("local", 1),
    )
    summary = command.run()
    assert any("min-yield" in problem for problem in summary.problems)
    assert Dataset.open(str(tmp_path / "root")).description.source["kind"] == "laion"


def test_a_dataset_cannot_lie_in_what_is_read(tmp_path: Path) -> None:
    write_bytes(tmp_path)
    out = IngestOptions(str(tmp_path / "root"))
    for command in (IngestTable(table=str(tmp_path), options=out), IngestTars(tars=str(tmp_path), options=out)):
        with pytest.raises(RequestError, match=r"^--out must be outside of the folder that is read"):
            command.run()


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases, which is not beside this checkout")
def test_the_case_of_datasets() -> None:
    rows, left_out = planned(CASES / "metadata" / "m12_hf")
    assert [row.captions for row in rows][:2] == [("a red square",), ("another",)]
    assert not left_out
