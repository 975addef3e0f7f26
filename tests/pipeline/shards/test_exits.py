"""A process that has read tables ends with 0: threads of pyarrow that outlive the interpreter would abort it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from t2i_shards.pipeline.sources.row import Row, encode_plan

REPOSITORY = Path(__file__).parents[3]
EXITS = 200

READ = """
import sys
from t2i_shards.pipeline.shards.parquet import check_table
from t2i_shards.pipeline.sources.row import decode_plan
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.metadata import find_metadata

data = open(sys.argv[1], "rb").read()
rows = decode_plan(data, "plan")
batches = [columns for file in find_metadata(sys.argv[2], Filters()) for _, columns in file.read()]
assert len(rows) == len(batches[0]["url"]) == 1000
"""


@pytest.mark.soak
def test_readers_end_with_0(tmp_path: Path) -> None:
    rows = [Row(f"{i:09d}", f"{i}.jpg", ("a caption",), extra={f"c{n}": i for n in range(8)}) for i in range(1000)]
    (tmp_path / "plan").write_bytes(encode_plan(rows))
    columns = [
        Row(f"{i:09d}", "", extra={"url": f"http://a/{i}", "caption": "a", "width": i}) for i in range(1000)
    ]
    (tmp_path / "m.parquet").write_bytes(encode_plan(columns))

    def end(_: int) -> int:
        command = [sys.executable, "-c", READ, str(tmp_path / "plan"), str(tmp_path / "m.parquet")]
        return subprocess.run(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(end, range(EXITS))) == {0}
