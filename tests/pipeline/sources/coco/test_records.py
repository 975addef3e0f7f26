"""Which records of annotation files are taken, and which are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from t2i_shards.pipeline.sources.coco.records import CaptionFile, Image, PeopleFile, Person

IMAGE = {"id": 7, "file_name": "7.jpg", "width": 160, "height": 120}
PERSON = {"id": 1, "image_id": 7, "keypoints": [0.0] * 51, "num_keypoints": 3}


def test_what_other_tools_leave_out_has_a_default() -> None:
    file = msgspec.convert({"images": [IMAGE], "annotations": []}, CaptionFile)
    assert file.images == [Image(7, "7.jpg", 160, 120)]
    assert (file.images[0].license, file.licenses) == (None, [])
    assert msgspec.convert({"annotations": [PERSON]}, PeopleFile).annotations[0].iscrowd == 0


@pytest.mark.parametrize(
    "changes", [{"width": 0}, {"id": -1}, {"id": 10**12}, {"height": "120"}, {"file_name": 7}]
)
def test_an_image_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**IMAGE, **changes}, Image)


@pytest.mark.parametrize("count", [50, 52])
def test_a_person_has_seventeen_keypoints(count: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**PERSON, "keypoints": [0.0] * count}, Person)
