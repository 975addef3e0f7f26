"""COCO's annotation files (cocodataset.org, "data format"), read as far as they are used.

The whole of train2017 (118 k pictures, 592 k captions, 262 k people, 860 k instances) stays under 3 GB so.
Files that other tools wrote may say 160.0 for a width.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from t2i_shards.extractors.maps.coco_classes import PANOPTIC_TO_VALUE
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.captions import clean_caption
from t2i_shards.pipeline.sources.coco.files import check_inside
from t2i_shards.pipeline.sources.coco.records import (
    Caption,
    CaptionFile,
    Image,
    Instance,
    InstanceFile,
    Licence,
    PanopticFile,
    PeopleFile,
    Person,
    Segments,
)

log = logging.getLogger(__name__)

KINDS = ("captions", "person_keypoints", "instances", "panoptic")
"""The annotation files of a split that are read; all but the first may be absent."""

FILE_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]*")

_File = TypeVar("_File")


@dataclass(frozen=True)
class Annotations:
    """What is known of a split. images: by rising id. The rest is by image id, with nothing for many of them.

    captions: in the order of their ids. people: 51 numbers each (x, y, v of COCO-17), the largest area first.
    categories: names of what was outlined, in the order of the category ids. segments: [id in the panoptic PNG,
    category id].
    """

    images: Sequence[Image]
    licences: Mapping[int, Licence]
    captions: Mapping[int, list[str]]
    people: Mapping[int, list[list[float]]] | None
    categories: Mapping[int, list[str]]
    segments: Mapping[int, list[list[int]]]


def annotation_file(coco: Path, kind: str, split: str) -> Path:
    """annotations/captions_train2017.json. RequestError when a link leads out of the folder of COCO."""
    return check_inside(coco, coco / "annotations" / f"{kind}_{split}.json")


def digest_annotations(coco: Path, split: str) -> dict[str, str | None]:
    """kind -> sha256 of its file, None where there is none."""
    paths = {kind: annotation_file(coco, kind, split) for kind in KINDS}
    return {kind: _digest(path) if path.is_file() else None for kind, path in paths.items()}


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_once(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _digest_once(path: Path, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_annotations(coco: Path, split: str, notes: Counter[str], with_people: bool = True) -> Annotations:
    """notes: counts captions that had to be cut. with_people: they are asked for.

    Where they are not, people are None if their file is malformed, and may yet be available if it is not.
    Raises RequestError for what is missing, malformed, or does not fit together.
    """
    path = annotation_file(coco, "captions", split)
    found = _load(path, CaptionFile)
    images = _check_images(path, found)
    ids = {image.id for image in images}
    _check_known(path, found.annotations, ids)
    captions = defaultdict[int, list[str]](list)
    for caption in sorted(found.annotations, key=lambda caption: caption.id):
        if text := clean_caption(caption.caption, notes):
            captions[caption.image_id].append(text)
    return Annotations(
        images=images,
        licences={licence.id: licence for licence in found.licenses},
        captions=captions,
        people=_try_people(annotation_file(coco, "person_keypoints", split), ids, with_people),
        categories=_read_categories(annotation_file(coco, "instances", split), ids),
        segments=_read_segments(annotation_file(coco, "panoptic", split), ids),
    )


def _check_images(path: Path, found: CaptionFile) -> list[Image]:
    """The pictures by rising id."""
    if not found.images:
        raise RequestError(f"{path}: must list at least one picture in images, has none")
    images = sorted(found.images, key=lambda image: image.id)
    last = -1
    for image in images:
        if image.id == last:
            raise RequestError(f"{path}: an id must occur once in images, {image.id} occurs twice")
        last = image.id
        if not FILE_NAME.fullmatch(image.file_name):
            raise RequestError(
                f"{path}: a file_name must be {FILE_NAME.pattern}, not {image.file_name!r} (image {image.id})"
            )
    return images


def _try_people(path: Path, ids: set[int], asked: bool) -> Mapping[int, list[list[float]]] | None:
    try:
        return _read_people(path, ids)
    except RequestError as error:
        if asked:
            raise
        log.warning("%s; this dataset will have no --truth keypose", error)
        return None


def _read_people(path: Path, ids: set[int]) -> Mapping[int, list[list[float]]]:
    """People with keypoints; crowds and people of whom no point is labelled are left out."""
    if not path.is_file():
        return {}
    annotations = _load(path, PeopleFile).annotations
    _check_known(path, annotations, ids)
    people = defaultdict[int, list[list[float]]](list)
    for person in sorted(annotations, key=lambda person: (-(person.area or 0), person.id)):
        if person.num_keypoints > 0 and not person.iscrowd:
            people[person.image_id].append(person.keypoints)
    return people


def _read_categories(path: Path, ids: set[int]) -> Mapping[int, list[str]]:
    if not path.is_file():
        return {}
    found = _load(path, InstanceFile)
    _check_known(path, found.annotations, ids)
    names = {category.id: category.name for category in found.categories}
    pairs = sorted({(instance.image_id, instance.category_id) for instance in found.annotations})
    categories = defaultdict[int, list[str]](list)
    for image, category in pairs:
        if category not in names:
            raise RequestError(f"{path}: a category_id must be one of categories, not {category} (image {image})")
        categories[image].append(names[category])
    return categories


def _read_segments(path: Path, ids: set[int]) -> Mapping[int, list[list[int]]]:
    if not path.is_file():
        return {}
    annotations = _load(path, PanopticFile).annotations
    _check_known(path, annotations, ids)
    for picture in annotations:
        for segment in picture.segments_info:
            if segment.category_id not in PANOPTIC_TO_VALUE:
                raise RequestError(
                    f"{path}: a category_id must be one of COCO's panoptic categories, not {segment.category_id} "
                    f"(image {picture.image_id})"
                )
    return {a.image_id: [[s.id, s.category_id] for s in a.segments_info] for a in annotations}


def _load(path: Path, kind: type[_File]) -> _File:
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        return msgspec.json.decode(data, type=kind, strict=False)  # so that 160.0 is a whole number
    except FileNotFoundError:
        raise RequestError(f"{path}: not there; --coco must be a folder with COCO's annotations in it") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"{path}: must be COCO's JSON ({error})") from None


def _check_known(path: Path, annotations: Iterable[Caption | Person | Instance | Segments], ids: set[int]) -> None:
    for annotation in annotations:
        if annotation.image_id not in ids:
            raise RequestError(
                f"{path}: an image_id must be the id of a picture of the split, not {annotation.image_id}"
            )
