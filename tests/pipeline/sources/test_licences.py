"""The licence of each picture: read by every source, counted by the card, chosen by `publish --licenses`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.licence import clean_licence
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.sources.tars.samples import MemberChoice
from t2i_shards.pipeline.sources.tars.source import TarsSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import fill
from tests.pipeline.image.pictures import save, smooth
from tests.pipeline.sources.tars.toys import write_tar

GIVEN = ["CC BY 4.0", "  cc0\n1.0 ", "?", None]
KEPT = ["CC BY 4.0", "cc0 1.0", "unknown", "unknown"]
PNG = save(smooth(80, 96), "PNG")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("CC-BY", "CC-BY"),
        (4, "4"),
        (["a", None, "b"], "a, b"),
        ({"name": "MIT", "url": "x"}, "MIT"),
        ({"url": "https://x"}, "https://x"),
        ("x" * 500, "x" * 200),
        ("a\x1bb", "a b"),
        *((nothing, "unknown") for nothing in ("", " ", "?", "N/A", "None", None, [], {}, float("nan"))),
    ],
)
def test_a_licence_is_one_line_or_unknown(value: Any, kept: str) -> None:
    assert clean_licence(value) == kept


def folder(place: Path, name: str) -> Source:
    records = [
        {"file_name": f"{i}.png", "text": "a", name: licence}
        for i, licence in enumerate(GIVEN)
        if licence is not None
    ]
    (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, records)))
    for i in range(len(GIVEN)):
        (place / f"{i}.png").write_bytes(PNG)
    (place / "3.txt").write_text("of no record")
    return FolderSource(str(place))


def tars(place: Path, name: str) -> Source:
    write_tar(
        place / "0.tar",
        {f"{i}.png": PNG for i in range(len(GIVEN))}
        | {f"{i}.json": {"caption": "a", name: licence} for i, licence in enumerate(GIVEN)},
    )
    return TarsSource(str(place), MemberChoice(license_key=None if name == "licence" else name))


def table(place: Path, name: str) -> Source:
    images = [{"bytes": PNG, "path": None}] * len(GIVEN)
    pq.write_table(pa.table({"image": images, "text": ["a"] * len(GIVEN), name: GIVEN}), place / "0.parquet")
    return TableSource(str(place), license_column=None if name == "licence" else name)


@pytest.mark.parametrize("name", ["licence", "rights"])
@pytest.mark.parametrize("write", [folder, tars, table])
def test_every_source_keeps_it(write: Callable[[Path, str], Source], name: str, tmp_path: Path) -> None:
    """By a name that is known, or by the one that an option names."""
    if write is folder and name == "rights":
        pytest.skip("metadata of a folder have no option for it")
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in", name)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 10)
    assert [made.errors for made in fill(dataset, source)] == [()]
    assert [read_info(sample).source["license"] for sample in dataset.load(IMAGES, 0)] == KEPT


def test_plans_of_tables_without_licences_have_no_column_of_them(tmp_path: Path) -> None:
    """One that an earlier version was ended in the middle of is continued, and had none."""
    (tmp_path / "t.csv").write_text("image,caption\na.png,x\n")
    (row,) = TableSource(str(tmp_path / "t.csv")).rows(LeftOut())
    assert "license" not in row.extra


@pytest.mark.parametrize(("name", "option"), [("LICENSE", None), ("rights", "rights")])
def test_lists_of_urls_keep_it(name: str, option: str | None, tmp_path: Path) -> None:
    urls = [f"http://a.example/{i}.png" for i in range(len(GIVEN))]
    pq.write_table(pa.table({"URL": urls, "TEXT": ["a"] * len(GIVEN), name: GIVEN}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"URL": urls[:1], "TEXT": ["a"]}), tmp_path / "b.parquet")
    pattern = str(tmp_path / ("*" if option is None else "a.parquet"))
    rows = list(LaionSource(pattern, license_column=option).rows(LeftOut()))
    assert [row.extra["license"] for row in rows] == KEPT + [None] * (option is None)


def test_json_lines_may_hold_lists_and_records(tmp_path: Path) -> None:
    """Of licences; in the place of an address a list is nothing."""
    found: list[Any] = [["cc", "mit"], {"name": "MIT"}, 4, None]
    records = [
        {"url": f"http://a.example/{i}.png", "file": f"{i}.png", "text": "a", "license": of}
        for i, of in enumerate(found)
    ]
    records.append({"url": ["http://a.example/4.png"], "file": "4.png", "text": ["a", "b"], "license": "x"})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    kept = ["cc, mit", "MIT", "4", "unknown"]
    assert [row.extra["license"] for row in LaionSource(str(tmp_path / "a.jsonl")).rows(LeftOut())] == kept
    pictures = TableSource(str(tmp_path / "a.jsonl"), image_column="file")
    assert [row.extra["license"] for row in pictures.rows(LeftOut())][:4] == kept


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([["cc", "mit"], [], None], ["cc, mit", "unknown", "unknown"]),
        ([{"id": 1, "name": "MIT"}, {"id": 2, "name": None}, None], ["MIT", "unknown", "unknown"]),
        ([{"name": "", "url": "https://x"}] * 3, ["https://x"] * 3),
    ],
)
def test_parquet_may_hold_lists_and_records_too(found: list[Any], kept: list[str], tmp_path: Path) -> None:
    images, urls = [{"bytes": PNG, "path": None}] * 3, [f"http://a.example/{i}.png" for i in range(3)]
    columns = {"image": images, "url": urls, "text": ["a"] * 3, "license": found}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    for source in (TableSource(str(tmp_path)), LaionSource(str(tmp_path / "a.parquet"))):
        assert [row.extra["license"] for row in source.rows(LeftOut())] == kept


def test_a_column_that_is_not_there_or_holds_none_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    images = {"image": [{"bytes": PNG, "path": None}], "text": ["a"], "license": [[1, 2]]}
    pq.write_table(pa.table(images), tmp_path / "a.parquet")
    [row] = TableSource(str(tmp_path)).rows(LeftOut())
    assert "license" not in row.extra
    for name, said in (("license", "its column license must hold texts"), ("gone", "--license-column")):
        with pytest.raises(RequestError, match=said):
            list(TableSource(str(tmp_path), license_column=name).rows(LeftOut()))


@pytest.mark.usefixtures("in_this_process")
def test_publishing_chooses_by_name_and_the_card_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    folder(tmp_path / "in", "license")
    root, local = str(tmp_path / "root"), ["--engine", "local", "--workers", "1"]
    assert run(["ingest", "folder", str(tmp_path / "in"), "--out", root, "--size", "64", *local]) == 0
    asked = ["--licenses", "cc by  4.0", "CC0 1.0", "4", "--json"]
    for _ in range(2):  # the second finds what the first has made
        capfd.readouterr()
        assert run(["publish", root, "--to", str(tmp_path / "to"), *asked, *local]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["left_out"] == {"licence unknown": 2}
    card = (tmp_path / "to/README.md").read_text()
    assert "CC BY 4.0" in card
    assert "cc0 1.0" in card
    assert json.loads((tmp_path / "to/publish.json").read_text())["licenses"] == [4, "CC0 1.0", "cc by  4.0"]
    assert len(Dataset.open(root).load(IMAGES, 0)) == len(GIVEN)
