"""What the people have whom README and docs are written for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.pipeline.image.pictures import gradient, save
from tests.pipeline.sources.tars.toys import write_tar

JPEG, PNG = (save(gradient(256, 320), kind) for kind in ("JPEG", "PNG"))


def write_photographs(folder: Path) -> None:
    """my/photographs with a picture, and its caption in every form."""
    (folder / "my/photographs").mkdir(parents=True)
    (folder / "my/photographs/photo.jpg").write_bytes(JPEG)
    for ending, text in ((".txt", "a"), (".caption", "b"), (".json", '{"text": "c"}')):
        (folder / f"my/photographs/photo{ending}").write_text(text)


def write_inputs(folder: Path, port: int) -> None:
    """One of each kind of source. port: of a server on this machine that has pictures."""
    write_photographs(folder)
    tar: dict[str, Any] = {"0.jpg": JPEG, "0.png": PNG, "0.txt": "a", "0.json": {"blip_caption": "b"}}
    tar["0.sketch.png"] = save(gradient(256, 320)[..., 0] // 4, "PNG")
    for name in ("shards", "laion-art"):
        write_tar(folder / name / "0.tar", tar)
    (folder / "set").mkdir()
    pq.write_table(pa.table({"image": [JPEG], "caption": ["a"]}), folder / "set/0.parquet")
    (folder / "set/0.jpg").write_bytes(JPEG)
    (folder / "set/0.csv").write_text("file,legend\n0.jpg,a\n")
    (folder / "pictures").mkdir()
    (folder / "pictures/0.jpg").write_bytes(JPEG)
    (folder / "pictures/metadata.jsonl").write_text('{"file_name": "0.jpg", "text": "a"}')
    (folder / "urls").mkdir()
    url = f"http://127.0.0.1:{port}/0.jpg"
    pq.write_table(pa.table({"url": [url], "caption": ["a"]}), folder / "urls/0.parquet")
    (folder / "urls.jsonl").write_text(json.dumps({"link": url, "caption": "a"}))
