"""The records of COCO's annotation files (cocodataset.org, "data format"), as far as they are used.

Files that other tools wrote may lack licences and areas.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Id = Annotated[int, Meta(ge=0, lt=10**12)]
Side = Annotated[int, Meta(ge=1)]


class Image(Struct, gc=False):
    id: Id
    file_name: str
    width: Side
    height: Side
    license: int | None = None
    flickr_url: str | None = None
    coco_url: str | None = None


class Licence(Struct, gc=False):
    id: int
    name: str
    url: str | None = None


class Caption(Struct, gc=False):
    id: int
    image_id: int
    caption: str


class Person(Struct, gc=False):
    id: int
    image_id: int
    keypoints: Annotated[list[float], Meta(min_length=51, max_length=51)]
    num_keypoints: int
    area: float | None = None
    iscrowd: int = 0


class Instance(Struct, gc=False):
    image_id: int
    category_id: int


class Category(Struct, gc=False):
    id: int
    name: str


class Segment(Struct, gc=False):
    id: int
    category_id: int


class Segments(Struct, gc=False):
    image_id: int
    segments_info: list[Segment]


class CaptionFile(Struct):
    images: list[Image]
    annotations: list[Caption]
    licenses: list[Licence] = []


class PeopleFile(Struct):
    annotations: list[Person]


class InstanceFile(Struct):
    annotations: list[Instance]
    categories: list[Category]


class PanopticFile(Struct):
    annotations: list[Segments]
