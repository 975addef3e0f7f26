"""COCO's annotation files: what is refused of them in one line, and what other tools write that is read."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.coco.annotations import annotation_file
from tests.pipeline.coco_toy import SPLIT, edit, rows_of

UNDECODABLE = (
    b'{"images": [{"file_name": "\xff"}], "annotations": [{"caption": "\xff"}], "categories": [{"name": "\xff"}]}'
)


def drop_key(name: str, key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record[name][0].pop(key)


def put(name: str, key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record[name][0].update({key: value})


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("captions", lambda r: r.update(images=[]), "must list at least one picture in images, has none"),
        ("captions", lambda r: r.pop("images"), "missing required field `images`"),
        ("captions", drop_key("annotations", "caption"), "missing required field `caption`"),
        ("captions", put("annotations", "caption", 7), "Expected `str`, got `int`"),
        ("captions", put("images", "width", 0), "Expected `int` >= 1"),
        ("captions", put("images", "id", -3), "Expected `int` >= 0"),
        ("captions", put("images", "id", 10**12), "Expected `int` <= 999999999999"),
        ("captions", put("images", "id", 8), "an id must occur once in images, 8 occurs twice"),
        ("captions", put("images", "width", 160.5), "Expected `int`, got `float`"),
        (
            "captions",
            put("images", "file_name", "../../etc/passwd"),
            "a file_name must be .* not '../../etc/passwd'",
        ),
        ("captions", put("images", "file_name", "/etc/passwd"), "a file_name must be .* not '/etc/passwd'"),
        ("captions", put("annotations", "image_id", 5), "an image_id must be the id of a picture .* not 5"),
        (
            "person_keypoints",
            put("annotations", "image_id", 5),
            "an image_id must be the id of a picture .* not 5",
        ),
        ("person_keypoints", put("annotations", "keypoints", [1, 2, 2]), "Expected `array` of length >= 51"),
        ("person_keypoints", drop_key("annotations", "num_keypoints"), "missing required field `num_keypoints`"),
        ("instances", put("annotations", "image_id", 5), "an image_id must be the id of a picture .* not 5"),
        ("instances", put("annotations", "category_id", 500), "a category_id must be one of categories, not 500"),
        ("panoptic", put("annotations", "image_id", 5), "an image_id must be the id of a picture .* not 5"),
        (
            "panoptic",
            lambda r: r["annotations"][0]["segments_info"][0].update(category_id=183),
            r"a category_id must be one of COCO's panoptic categories, not 183 \(image 1\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    coco: Path, kind: str, change: Callable[[dict[str, Any]], Any], line: str
) -> None:
    edit(coco, kind, change)
    with pytest.raises(RequestError, match=line) as refusal:
        rows_of(coco, asked=("keypose",))
    assert str(refusal.value).startswith(str(annotation_file(coco, kind, SPLIT)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"images": [', b"\xff\xfe", b'{"images": ' + b"[" * 5000, UNDECODABLE]
)
@pytest.mark.parametrize("kind", ["captions", "person_keypoints", "instances", "panoptic"])
def test_malformed_json_is_refused_in_one_line(coco: Path, kind: str, data: bytes) -> None:
    path = annotation_file(coco, kind, SPLIT)
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"must be COCO's JSON \(.+\)$") as refusal:
        rows_of(coco, asked=("keypose",))
    assert str(refusal.value).startswith(str(path))


def test_a_licence_that_the_file_does_not_know_is_refused(coco: Path) -> None:
    with pytest.raises(RequestError, match=r"--licenses must be licence ids .* \(1, 2, 3, 4\), not 7"):
        rows_of(coco, licenses=(1, 7))


def test_what_other_tools_write_is_read_too(coco: Path) -> None:
    """Numbers as 160.0, a byte order mark, no licences, no area."""
    expected, _ = rows_of(coco)

    def loosen(record: dict[str, Any]) -> None:
        for image in record["images"]:
            image.update(width=float(image["width"]), height=float(image["height"]), id=float(image["id"]))
            image.update(flickr_url=None)
        for annotation in record["annotations"]:
            annotation.update({"image_id": float(annotation["image_id"])})
            annotation.update({"area": None} if "area" in annotation else {})

    for kind in ("captions", "person_keypoints", "instances"):
        edit(coco, kind, loosen)
        path = annotation_file(coco, kind, SPLIT)
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    rows, _ = rows_of(coco, asked=("keypose",))
    assert [row.key for row in rows] == [row.key for row in expected]
    for row, before in zip(rows, expected, strict=True):
        assert sorted(row.extra.pop("people")) == sorted(before.extra.pop("people"))  # type: ignore[attr-defined]
        assert row.extra == {**before.extra, "flickr_url": ""}


@pytest.mark.parametrize("change", [drop_key("images", "license"), put("images", "license", 0)])
def test_a_licence_that_is_missing_is_unknown(change: Any, coco: Path) -> None:
    edit(coco, "captions", change)
    known = {row.key: row.extra for row in rows_of(coco)[0]}["000000000036"]
    assert (known["license"], known["license_name"], known["license_url"]) == (None, "unknown", "")


def test_without_a_list_of_licences_all_are_unknown(coco: Path) -> None:
    edit(coco, "captions", lambda record: record.pop("licenses"))
    assert {row.extra["license_name"] for row in rows_of(coco)[0]} == {"unknown"}
