"""A small COCO in the official layout: from the real photographs of ../shared/assets, or from rendered scenes."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from t2i_shards.extractors.maps.coco_classes import COCO_STUFF, PANOPTIC_IDS, PANOPTIC_TO_VALUE
from t2i_shards.pipeline.scenes import render
from t2i_shards.pipeline.sources.coco.annotations import annotation_file
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.left_out import LeftOut

SPLIT = "val2017"
LICENCES = [
    {"id": 1, "name": "Attribution-NonCommercial-ShareAlike License", "url": "http://creativecommons.org/licenses/by-nc-sa/2.0/"},
    {"id": 2, "name": "Attribution-NonCommercial License", "url": "http://creativecommons.org/licenses/by-nc/2.0/"},
    {"id": 3, "name": "Attribution-NonCommercial-NoDerivs License", "url": "http://creativecommons.org/licenses/by-nc-nd/2.0/"},
    {"id": 4, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"},
]  # fmt: skip


@dataclass
class ToyPicture:
    """data: the file. labels: uint8 (H, W) of COCO-Stuff, None without a map. people: as in person_keypoints.

    panoptic: a PNG and its segments_info; things: category ids for instances.
    """

    id: int
    data: bytes
    labels: np.ndarray | None = None
    people: list[dict[str, Any]] = field(default_factory=list)
    panoptic: tuple[bytes, list[dict[str, Any]]] | None = None
    things: list[int] = field(default_factory=list)
    license: int = 1
    captions: Sequence[str] | None = None

    @property
    def name(self) -> str:
        return f"{self.id:012d}.jpg"

    @property
    def size(self) -> tuple[int, int]:
        with Image.open(io.BytesIO(self.data)) as image:
            return image.size


def write_coco(folder: Path, pictures: Sequence[ToyPicture], split: str = SPLIT, zipped: bool = False) -> Path:
    """The official layout of these pictures in `folder`; with `zipped`, as the official zips hold it."""
    annotations = folder / "annotations"
    annotations.mkdir(parents=True)
    for name, record in annotation_files(pictures).items():
        (annotations / f"{name}_{split}.json").write_text(json.dumps(record))
    files = {f"{split}/{picture.name}": picture.data for picture in pictures}
    maps = {f"{split}/{p.id:012d}.png": encode_png(p.labels) for p in pictures if p.labels is not None}
    panoptic = {f"panoptic_{split}/{p.id:012d}.png": p.panoptic[0] for p in pictures if p.panoptic}
    if zipped:
        write_zip(folder / f"{split}.zip", files)
        write_zip(folder / "stuffthingmaps_trainval2017.zip", maps)
        write_zip(annotations / f"panoptic_{split}.zip", panoptic)
    else:
        write_files(folder, files)
        write_files(folder / "stuffthingmaps", maps)
        write_files(annotations, panoptic)
    return folder


def annotation_files(pictures: Sequence[ToyPicture]) -> dict[str, dict[str, Any]]:
    """captions, person_keypoints, instances and panoptic, their annotations in no order of use."""
    images = [image_record(picture) for picture in reversed(pictures)]
    common = {"info": {"year": 2017}, "licenses": LICENCES, "images": images}
    captions = []
    for picture in pictures:
        texts = picture.captions
        if texts is None:
            texts = [
                f"The first words on picture {picture.id}. ",
                f"More\nabout {picture.id}.",
                f"Last of {picture.id}",
            ]
        captions += [
            {"image_id": picture.id, "id": 10 * picture.id + n, "caption": text} for n, text in enumerate(texts)
        ]
    categories = [{"id": v + 1, "name": COCO_STUFF[v], "supercategory": "any"} for v in range(90)]
    instances = [
        {"id": 100 * p.id + n, "image_id": p.id, "category_id": c, "segmentation": [[1, 2, 3, 4, 5, 6]]}
        for p in pictures
        for n, c in enumerate(p.things)
    ]
    segments = [
        {"image_id": p.id, "file_name": f"{p.id:012d}.png", "segments_info": p.panoptic[1]}
        for p in pictures
        if p.panoptic
    ]
    return {
        "captions": {**common, "annotations": captions[::-1]},
        "person_keypoints": {**common, "annotations": [a for p in pictures for a in p.people]},
        "instances": {**common, "annotations": instances, "categories": categories},
        "panoptic": {**common, "annotations": segments, "categories": [{"id": i} for i in PANOPTIC_IDS]},
    }


def image_record(picture: ToyPicture) -> dict[str, Any]:
    width, height = picture.size
    return {
        "id": picture.id,
        "file_name": picture.name,
        "width": width,
        "height": height,
        "license": picture.license,
        "coco_url": f"http://images.cocodataset.org/{SPLIT}/{picture.name}",
        "flickr_url": f"http://farm1.staticflickr.com/{picture.id}.jpg",
        "date_captured": "2013-11-19 21:22:42",
    }


def real_pictures(assets: Path) -> list[ToyPicture]:
    """Four photographs with people, whose masks are the maps, and two with panoptic ground truth."""
    people = json.loads((assets / "images/mmpose_coco/test_coco.json").read_text())
    found = []
    for image in people["images"]:
        own = [a for a in people["annotations"] if a["image_id"] == image["id"]]
        data = (assets / "images/mmpose_coco" / image["file_name"]).read_bytes()
        labels = np.full((image["height"], image["width"]), 255, np.uint8)
        for annotation in own:
            outlines = [np.array(o).reshape(-1, 2).round().astype(np.int32) for o in annotation["segmentation"]]
            cv2.fillPoly(labels, outlines, 0)
        found.append(ToyPicture(image["id"], data, labels, own, things=[1] * len(own), license=image["license"]))
    folder = assets / "images/coco_panoptic"
    panoptic = json.loads((folder / "panoptic_examples.json").read_text())
    for image, annotation in zip(panoptic["images"], panoptic["annotations"], strict=True):
        png = (folder / "panoptic_examples" / annotation["file_name"]).read_bytes()
        data = (folder / "input_images" / image["file_name"]).read_bytes()
        segments = annotation["segments_info"]
        things = [segment["category_id"] for segment in segments if segment["category_id"] <= 90]
        labels = paint_panoptic(png, segments)
        found.append(ToyPicture(image["id"], data, labels, [], (png, segments), things, image["license"]))
    return sorted(found, key=lambda picture: picture.id)


def rendered_pictures(count: int = 6) -> list[ToyPicture]:
    """Scenes cut to odd sizes, with the exact maps and people that the renderer knows."""
    found = []
    for index in range(count):
        scene = render(5, index, 192)
        width, height = 192 - 7 * (index % 2), 192 - 13 * (index % 3)
        jpeg = io.BytesIO()
        Image.fromarray(np.asarray(scene.picture[:height, :width])).save(jpeg, "JPEG", quality=95)
        labels = np.ascontiguousarray(scene.labels[:height, :width])
        png, segments = panoptic_of(labels)
        people = [
            person_record(100 * index + n, 7 * index + 1, points)
            for n, points in enumerate(scene.people.keypoints)
        ]
        things = sorted({int(v) + 1 for v in np.unique(labels) if v < 90})
        found.append(
            ToyPicture(7 * index + 1, jpeg.getvalue(), labels, people, (png, segments), things, 1 + index % 3)
        )
    return found


def person_record(number: int, image_id: int, points: np.ndarray, **other: Any) -> dict[str, Any]:
    """points: (17, 3) of x, y and score; a score over 0 is a visible point. Larger where more is visible."""
    numbers = [[round(float(x)), round(float(y)), 2 if score > 0 else 0] for x, y, score in points]
    flat = [n if v else 0 for x, y, v in numbers for n in (x, y, v)]
    visible = sum(v > 0 for v in flat[2::3])
    record = {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": [[1, 2, 3, 4, 5, 6]],
    }
    return {**record, "keypoints": flat, "num_keypoints": visible, "area": 100.5 + visible, **other}


def panoptic_of(labels: np.ndarray) -> tuple[bytes, list[dict[str, Any]]]:
    """A panoptic PNG and its segments that say the same as `labels`, as far as the panoptic task can."""
    category_of = {value: number for number, value in PANOPTIC_TO_VALUE.items()}
    ids = np.zeros(labels.shape, np.int64)
    segments = []
    for value in np.unique(labels):
        if int(value) in category_of:
            segment = 70_001 * (int(value) + 1)
            ids[labels == value] = segment
            segments.append({"id": segment, "category_id": category_of[int(value)], "iscrowd": 0, "area": 1})
    return encode_png(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8)), segments


def paint_panoptic(png: bytes, segments: Sequence[dict[str, Any]]) -> np.ndarray:
    """The same as the source makes of it, by another way: one segment at a time."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image).astype(np.int64)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    labels = np.full(ids.shape, 255, np.uint8)
    for segment in segments:
        labels[ids == segment["id"]] = PANOPTIC_TO_VALUE[segment["category_id"]]
    return labels


def encode_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """As the official zips are: stored, with the folder in the member's name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def rows_of(coco: Path, **options: Any) -> tuple[list[Any], Counter[str]]:
    """(the rows of a plan, why pictures were left out)"""
    left_out = LeftOut()
    return list(CocoSource(str(coco), SPLIT, **options).rows(left_out)), left_out


def edit(coco: Path, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the record of an annotation file in place."""
    path = annotation_file(coco, kind, SPLIT)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
