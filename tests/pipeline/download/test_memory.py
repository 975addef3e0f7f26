"""A worker that downloads for days must not grow: the memory of one process over 100,000 rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pytest

from tests.bench.web import serve
from tests.conftest import HERE

SHARDS, ROWS, WARM = 100, 1000, 10

WORK = """
import sys
from pathlib import Path
from tests.bench.download_worker import ours
folder, port, shards, rows = sys.argv[1], *map(int, sys.argv[2:])
urls = [f"http://127.0.0.1:{port}/{i}/{i % 50}.jpg" for i in range(shards * rows)]
stage = ours(Path(folder), urls, port, rows, 64)
del urls
for shard in range(shards):
    samples = stage(shard).receipts["images"].samples
    resident = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
    print("shard", samples, resident, flush=True)
"""


@pytest.mark.soak
def test_the_memory_of_a_worker_is_flat_over_a_hundred_thousand_rows(tmp_path: Path) -> None:
    """Resident kilobytes after each shard; the middle of ten shards after the warm ones against the last ten's."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(50):
        rough = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(pictures / f"{number}.jpg"), cv2.resize(rough, (128, 96), interpolation=cv2.INTER_CUBIC))
    with serve(pictures) as port:
        numbers = map(str, (tmp_path / "work", port, SHARDS, ROWS))
        command = [sys.executable, "-c", WORK, *numbers]
        done = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("shard ")]
    assert [int(samples) for _, samples, _ in told] == [ROWS] * SHARDS
    resident = [int(kilobytes) for _, _, kilobytes in told]
    early, late = median(resident[WARM : WARM + 10]), median(resident[-10:])
    assert 0.95 < late / early < 1.05, resident[::10]
