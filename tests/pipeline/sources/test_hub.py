"""Tars and tables of a dataset on the Hugging Face hub: the same rows and pictures as from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.pipeline.sources.tars.toys import JPEG, PNG, write_tar
from tests.pipeline.stream.hub import run_reader, serve_folder

READER = """
import hashlib, json, sys
from collections import Counter
from pathlib import Path
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.sources.tars.source import TarsSource

told = {}
for place in sys.argv[2:]:
    for source in (TarsSource(place), TarsSource(f"{place}/tars/*.tar"), TableSource(f"{place}/a.parquet"),
                   TableSource(f"{place}/b/*.jsonl")):
        rows = list(source.rows(LeftOut()))
        with source.gather(rows, 64, Path(sys.argv[1])) as opener:
            found = [hashlib.sha256(opener(row).content).hexdigest() for row in rows]
        told.setdefault(place, []).append([[row.key, row.captions, digest] for row, digest in zip(rows, found)])
print(json.dumps(told))
"""


def test_a_set_of_the_hub(tmp_path: Path) -> None:
    """In another process, which is told where the hub is before it is imported."""
    folder = tmp_path / "hub"
    for name, keys in (("1", "ab"), ("2", "cd")):
        members = {f"{key}.{end}": JPEG if end == "jpg" else f"of {key}" for key in keys for end in ("jpg", "txt")}
        write_tar(folder / f"tars/{name}.tar", members)
    pq.write_table(pa.table({"image": [JPEG, PNG], "caption": ["a", "b"]}), folder / "a.parquet")
    (folder / "b").mkdir()
    (folder / "b/0.png").write_bytes(PNG)
    (folder / "b/a.jsonl").write_text('{"image": "0.png", "text": "a"}')
    (tmp_path / "scratch").mkdir()
    with serve_folder(folder) as (address, _):
        printed = run_reader(READER, address, str(tmp_path / "scratch"), "hf://datasets/me/set", str(folder))
    far, here = json.loads(printed).values()
    assert far == here
    assert [len(rows) for rows in here] == [4, 4, 2, 1]
