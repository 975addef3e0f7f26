"""COCO's annotation files as the rows of a plan."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.sources.coco.annotations import annotation_file
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from tests.conftest import CASES
from tests.pipeline.coco_toy import (
    LICENCES,
    SPLIT,
    ToyPicture,
    edit,
    person_record,
    rows_of,
    write_coco,
    write_files,
    write_zip,
)

PERSON = np.array([[10 + n, 20 + n, 1] for n in range(17)])
RIGHT = np.array([1, 0, 0])


def test_rows_are_the_pictures_by_rising_id_with_all_their_captions(
    coco: Path, pictures: list[ToyPicture]
) -> None:
    rows, left_out = rows_of(coco)
    assert [row.key for row in rows] == [f"{picture.id:012d}" for picture in pictures]
    assert [row.location for row in rows] == [picture.name for picture in pictures]
    assert rows[1].captions == ("The first words on picture 8.", "More about 8.", "Last of 8")
    assert [(row.extra["width"], row.extra["height"]) for row in rows] == [picture.size for picture in pictures]
    assert not left_out


def test_licence_addresses_and_categories_travel_with_a_row(coco: Path) -> None:
    row = rows_of(coco)[0][1]
    licence = {"license": 2, "license_name": LICENCES[1]["name"], "license_url": LICENCES[1]["url"]}
    assert licence.items() <= row.extra.items()
    assert row.extra["flickr_url"] == "http://farm1.staticflickr.com/8.jpg"
    assert row.extra["coco_url"] == "http://images.cocodataset.org/val2017/000000000008.jpg"
    assert row.extra["categories"] == ["potted plant"]


def test_the_plan_does_not_depend_on_where_coco_lies(coco: Path, tmp_path: Path) -> None:
    def told(source: CocoSource) -> str:
        return json.dumps([source.describe(), source.truths(), [asdict(row) for row in source.rows(LeftOut())]])

    here = told(CocoSource(str(coco), SPLIT))
    assert told(CocoSource(str(coco.rename(tmp_path / "elsewhere")), SPLIT)) == here
    assert str(tmp_path) not in here


def test_other_annotations_are_another_source(coco: Path) -> None:
    before = CocoSource(str(coco), SPLIT).describe()
    edit(coco, "person_keypoints", lambda record: record["annotations"].pop())
    after = CocoSource(str(coco), SPLIT).describe()
    assert {name for name in before if before[name] != after[name]} == {"person_keypoints_sha256"}


def test_only_the_licences_asked_for(coco: Path) -> None:
    rows, left_out = rows_of(coco, licenses=(3, 1, 3))
    assert [row.extra["license"] for row in rows] == [1, 3, 1, 3]
    assert left_out == {"licence not asked for": 2}
    assert CocoSource(str(coco), SPLIT, licenses=(3, 1, 3)).describe()["licenses"] == [1, 3]


def test_a_picture_without_caption_is_left_out(pictures: list[ToyPicture], tmp_path: Path) -> None:
    few = [ToyPicture(1, pictures[0].data, captions=[" \n "]), ToyPicture(2, pictures[0].data, captions=[])]
    rows, left_out = rows_of(write_coco(tmp_path / "coco", [*few, pictures[1]]))
    assert [row.extra["image_id"] for row in rows] == [8]
    assert left_out == {"no caption": 2}


def test_people_come_largest_first_without_crowds_and_the_unlabelled(
    pictures: list[ToyPicture], tmp_path: Path
) -> None:
    people = [
        person_record(5, 1, PERSON, area=10),
        person_record(2, 1, PERSON, area=400, iscrowd=1),
        person_record(3, 1, PERSON * [1, 1, 0], area=500),
        person_record(9, 1, PERSON + RIGHT, area=300.5),
        person_record(4, 1, PERSON + 2 * RIGHT, area=10),
    ]
    rows, _ = rows_of(write_coco(tmp_path / "coco", [ToyPicture(1, pictures[0].data, people=people)]))
    assert [person[0] for person in rows[0].extra["people"]] == [11, 12, 10]
    assert rows[0].extra["people"][0] == [float(x) for x in people[3]["keypoints"]]


def test_only_the_captions_must_be_there(coco: Path) -> None:
    for kind in ("person_keypoints", "instances", "panoptic"):
        annotation_file(coco, kind, SPLIT).unlink()
    rows, _ = rows_of(coco)
    assert all(row.extra["people"] == row.extra["categories"] == row.extra["segments"] == [] for row in rows)
    assert set(CocoSource(str(coco), SPLIT).truths()) == {"seg"}


def test_truths_say_who_made_them(coco: Path) -> None:
    truths = CocoSource(str(coco), SPLIT).truths()
    assert [truths[name]["made_by"] for name in ("seg", "keypose")] == ["COCO-Stuff", "COCO annotations"]
    assert {recipe["licence"] for recipe in truths.values()} == {"CC BY 4.0"}
    assert truths["keypose"]["sha256"] == CocoSource(str(coco), SPLIT).describe()["person_keypoints_sha256"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"coco": "nowhere"}, "--coco must be a folder, not 'nowhere'"),
        ({"split": "../val2017"}, "--split must be .* such as train2017, not '../val2017'"),
        (
            {"split": "train2017"},
            "captions_train2017.json: not there; --coco must hold the captions of --split train2017",
        ),
    ],
)
def test_options_are_refused_in_one_line(coco: Path, options: dict[str, str], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        CocoSource(**{"coco": str(coco), "split": SPLIT, **options})  # type: ignore[arg-type]


def test_pictures_must_be_there_or_be_downloaded(coco: Path) -> None:
    (coco / SPLIT).rename(coco / "pictures")
    with pytest.raises(
        RequestError, match=r"must hold the pictures as val2017/ or val2017.zip, or --download them"
    ):
        CocoSource(str(coco), SPLIT)


def test_the_people_are_needed_for_keypose_alone(
    coco: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    annotation_file(coco, "person_keypoints", SPLIT).write_text("{")
    rows, _ = rows_of(coco)
    assert {row.extra["people"] for row in rows} == {None}
    assert "this dataset will have no --truth keypose" in caplog.text
    with pytest.raises(RequestError, match="must be COCO's JSON"):
        rows_of(coco, asked=("keypose",))
    asked = CocoSource(str(coco), SPLIT, asked=("keypose",))
    with pytest.raises(RequestError, match="was planned without people"), asked.gather(rows, 64, tmp_path):
        pass
    with CocoSource(str(coco), SPLIT).gather(rows, 64, tmp_path) as opener:
        assert opener(rows[0]).content


@pytest.mark.parametrize("layout", ["nested", "empty folder", "flat zip", "nested zip", "two places", ".JPG"])
def test_pictures_are_found_in_the_layouts_that_there_are(layout: str, coco: Path, tmp_path: Path) -> None:
    folder, rows = coco / SPLIT, rows_of(coco)[0]
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    if layout == "nested":
        write_files(folder / SPLIT, files)
    elif layout == ".JPG":
        write_files(folder, {name.upper(): data for name, data in files.items()})
    elif layout == "two places":
        (first, data), *others = files.items()
        write_files(folder, {first: data, "Thumbs.db": b""})
        write_zip(coco / f"{SPLIT}.zip", {f"{SPLIT}/{name}": data for name, data in others})
    else:
        folder.mkdir()
        prefix = {"empty folder": f"{SPLIT}/", "flat zip": "", "nested zip": f"{SPLIT}/{SPLIT}/"}[layout]
        write_zip(coco / f"{SPLIT}.zip", {prefix + name: data for name, data in files.items()})
    source = CocoSource(str(coco), SPLIT)
    assert list(source.rows(LeftOut())) == rows
    with source.gather(rows, 64, tmp_path) as opener:
        assert [opener(row).content for row in rows] == [files[row.location] for row in rows]


def test_pictures_that_are_elsewhere_are_refused_before_planning(coco: Path) -> None:
    for path in (coco / SPLIT).iterdir():
        path.rename(path.with_name(f"COCO_{path.name}"))
    write_zip(coco / f"{SPLIT}.zip", {"other/1.jpg": b""})
    line = rf"none of the first 6 pictures .* is in .*/{SPLIT}/, .*{SPLIT}.zip \({SPLIT}\), .*--coco must hold"
    with pytest.raises(RequestError, match=line):
        rows_of(coco)


def test_pictures_that_were_missing_may_be_tried_again(coco: Path) -> None:
    rows, _ = rows_of(coco)
    gone = coco / SPLIT / rows[2].location
    data = gone.read_bytes()
    gone.unlink()
    failed = [(rows[2], "no such file"), (rows[2], "file not readable"), (rows[3], "truncated")]
    source = CocoSource(str(coco), SPLIT)
    assert list(source.again(failed)) == []
    gone.write_bytes(data)
    assert list(source.again(failed)) == [rows[2], rows[2]]


@pytest.mark.parametrize(
    "case", ["k02_missing_case", "k09_nolicense", "k10_nolicenses", "k19_floatsize", "k24_nullarea", "k32_bom"]
)
def test_the_collected_sets(case: str, tmp_path: Path) -> None:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    source = CocoSource(str(CASES / "coco" / case), "val2017", asked=("keypose",))
    rows = list(source.rows(LeftOut()))
    missing = 0
    with source.gather(rows, 64, tmp_path) as opener:
        for row in rows:
            try:
                assert opener(row).content
            except Drop as drop:
                missing += drop.reason == "no such file"
    assert (len(rows), missing) == (3, case == "k02_missing_case")
