"""While a plan is made, the number of rows read so far is shown."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.jobs.progress import show_planning
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.sources.tars.source import TarsSource
from tests.pipeline.sources.tars.toys import JPEG, write_tar


@pytest.mark.parametrize(("terminal", "told"), [(False, "plan: 7 rows read in "), (True, "plan: 7row [")])
def test_rows_are_told_as_they_are_read(
    terminal: bool, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("t2i_shards.jobs.progress.LINE_EVERY", 0.01)
    monkeypatch.setattr("t2i_shards.jobs.progress.REFRESH", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    said = ""
    with show_planning() as seen:
        seen(3)
        seen(4)
        for _ in range(1000):
            said += capsys.readouterr().err
            if told in said:
                return
            time.sleep(0.01)
    raise AssertionError(said)


def sources(folder: Path) -> dict[str, Source]:
    """Each with three rows."""
    write_tar(
        folder / "set/1.tar",
        {f"{i}.{end}": JPEG if end == "jpg" else "a" for i in "abc" for end in ("jpg", "txt")},
    )
    for i in "abc":
        (folder / f"{i}.jpg").write_bytes(JPEG)
        (folder / f"{i}.txt").write_text("a")
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"image": f"{i}.jpg", "text": "a"}) for i in "abc"))
    pq.write_table(pa.table({"url": ["http://x/0"] * 3, "text": ["a"] * 3}), folder / "a.parquet")
    return {
        "scenes": ScenesSource(3),
        "folder": FolderSource(str(folder)),
        "tars": TarsSource(str(folder / "set")),
        "table": TableSource(str(folder / "a.jsonl")),
        "laion": LaionSource(str(folder / "a.parquet")),
    }


def test_every_source_tells_its_rows(tmp_path: Path) -> None:
    for name, source in sources(tmp_path).items():
        told: list[int] = []
        assert len(list(source.rows(LeftOut(), told.append))) == sum(told) == 3, name
