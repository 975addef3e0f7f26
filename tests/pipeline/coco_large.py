"""Annotation files of the size of train2017: `python -m tests.pipeline.coco_large write|plan DIR`.

118,287 pictures, 591,753 captions, 262,465 people (149,813 with keypoints), 860,001 instances with outlines,
1.3 M panoptic segments: 0.9 GB of JSON.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PICTURES, CAPTIONS, PEOPLE, POSED, INSTANCES = 118_287, 591_753, 262_465, 149_813, 860_001
SEGMENTS = 11
SPLIT = "train2017"


def write_large(folder: Path) -> Path:
    """The official layout with all of train2017's annotations; of the pictures, only the name of the first."""
    rng = random.Random(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / SPLIT).mkdir()
    ids = sorted(rng.sample(range(9, 581_930), PICTURES))
    (folder / SPLIT / image(ids[0])["file_name"]).touch()
    head = json.dumps({"licenses": [{"id": n, "name": "Some License", "url": "http://x"} for n in range(1, 9)]})[
        :-1
    ]
    images = f', "images": {json.dumps([image(number) for number in ids])}'
    categories = f', "categories": {json.dumps([{"id": n, "name": f"thing {n}"} for n in range(1, 91)])}'
    write(folder, "captions", head + images, (caption(n, ids[n % PICTURES]) for n in range(CAPTIONS)))
    write(folder, "person_keypoints", head + images, (person(n, rng.choice(ids), rng) for n in range(PEOPLE)))
    instances = (instance(n, rng.choice(ids), rng) for n in range(INSTANCES))
    write(folder, "instances", head + images + categories, instances)
    write(folder, "panoptic", head + images + categories, (panoptic(number, rng) for number in ids))
    return folder


def write(folder: Path, kind: str, head: str, annotations: Iterable[dict[str, Any]]) -> None:
    with open(folder / "annotations" / f"{kind}_{SPLIT}.json", "w") as file:
        file.write(head + ', "annotations": [')
        for number, annotation in enumerate(annotations):
            file.write(("," if number else "") + json.dumps(annotation))
        file.write("]}")


def image(number: int) -> dict[str, Any]:
    return {
        "license": 1 + number % 8,
        "file_name": f"{number:012d}.jpg",
        "coco_url": f"http://images.cocodataset.org/{SPLIT}/{number:012d}.jpg",
        "height": 480,
        "width": 640,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm4.staticflickr.com/3153/{number:010d}_cbf97bfb5b_z.jpg",
        "id": number,
    }


def caption(number: int, image: int) -> dict[str, Any]:
    return {"image_id": image, "id": number, "caption": f"A man with a bicycle at crossing number {number}."}


def person(number: int, image: int, rng: random.Random) -> dict[str, Any]:
    posed = number < POSED
    keypoints = [
        n for _ in range(17) for n in ((rng.randrange(640), rng.randrange(480), 2) if posed else (0, 0, 0))
    ]
    return {**instance(number, image, rng), "num_keypoints": 17 if posed else 0, "keypoints": keypoints}


def instance(number: int, image: int, rng: random.Random) -> dict[str, Any]:
    outline = [round(640 * rng.random(), 2) for _ in range(44)]
    return {
        "segmentation": [outline],
        "area": 1e5 * rng.random(),
        "iscrowd": 0,
        "image_id": image,
        "bbox": outline[:4],
        "category_id": rng.randrange(1, 91),
        "id": number,
    }


def panoptic(image: int, rng: random.Random) -> dict[str, Any]:
    segments = [
        {"id": rng.randrange(1 << 24), "category_id": 1, "iscrowd": 0, "bbox": [1, 2, 3, 4], "area": 3528}
        for _ in range(SEGMENTS)
    ]
    return {"segments_info": segments, "file_name": f"{image:012d}.png", "image_id": image}


def main() -> None:
    """Print what reading all rows came to, as JSON."""
    from t2i_shards.pipeline.sources.coco.source import CocoSource
    from t2i_shards.pipeline.sources.left_out import LeftOut

    action, folder = sys.argv[1:]
    if action == "write":
        write_large(Path(folder))
        return
    started, count = time.perf_counter(), Counter[str]()
    for row in CocoSource(folder, SPLIT, asked=("seg", "keypose")).rows(LeftOut()):
        count.update(pictures=1, captions=len(row.captions))
        count.update({name: len(row.extra[name]) for name in ("people", "segments")})
    record = {
        **count,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
