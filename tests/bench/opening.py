"""Opening, `left`, `status` and the start of a training of many shards with six columns, on a folder and on S3.

The shards are receipts alone. SHARDS=100000 in the environment adds the largest: a folder then gets 600,000 files,
which takes minutes. From 10,000 on moto's S3 has the roll-ups alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bench.measure import Row
from tests.scale.synthetic import COLUMNS, counted_s3, fill, put_in_folder, put_in_moto, roll_up

SIZES = (1000, 10_000)
LIMITS = {"s": 10.0, "requests": 1000.0, "MB": 150.0}
"""What opening may take on a node."""
WORK = ("open", "open again", "left", "status", "train")


def bench(folder: Path) -> list[Row]:
    sizes = (*SIZES, *map(int, os.environ.get("SHARDS", "").split()))
    rows: list[Row] = []
    for shards in sizes:
        root = folder / str(shards)
        fill(put_in_folder(root), shards, COLUMNS, receipts="real" if shards <= max(SIZES) else "names")
        roll_up(str(root), COLUMNS)
        rows += measure(str(root), shards, "folder", folder, None)
    with counted_s3() as counts:
        for shards in sizes:
            put = put_in_moto(f"bench-{shards}")
            # The names of the largest would take this process gigabytes.
            fill(put, shards, COLUMNS, tars=shards < max(SIZES), receipts="real" if shards < max(SIZES) else "no")
            roll_up(f"s3://bench-{shards}/root", COLUMNS)
            rows += measure(f"s3://bench-{shards}/root", shards, "S3", folder, counts)
    return rows


def measure(root: str, shards: int, where: str, folder: Path, counts: Counter[str] | None) -> list[Row]:
    """Each kind of work in a process of its own; all share a folder for what is kept of a node."""
    node = folder / f"node {where} {shards}"
    node.mkdir()
    rows = []
    for what in WORK:
        if what == "status" and where == "S3" and shards >= max(SIZES):
            continue  # it lists every name
        before = Counter(counts or {})
        found = run(root, what.split()[0], COLUMNS[1:], node)
        figures = {
            "s": found["seconds"],
            "CPU s": found["cpu"],
            "MB": found["private MB"],
            "MB with what is shared": found["resident MB"],
        }
        if counts is not None:
            figures["requests"] = float(sum((counts - before).values()))
        if what == "train":
            figures["MB to each loader"] = found["pickled MB"]
        name = f"{what}, {shards} shards x {len(COLUMNS)}, {where}"
        for unit, figure in figures.items():
            goal = f"<= {LIMITS[unit]:g}" if what == "open" and unit in LIMITS else ""
            rows.append(Row(name, unit, figure, None, None, goal))
    return rows


def run(root: str, what: str, columns: Sequence[str], node: Path) -> dict[str, float]:
    environment = {**os.environ, "TMPDIR": str(node)}
    command = [sys.executable, "-m", "tests.bench.opening_worker", root, what, *columns]
    answer = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found
