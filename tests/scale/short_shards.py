"""What shards with nothing to do cost on a real Ray of one node with two workers: CPU and wall time, per process.

python -m tests.scale.short_shards [MOST]: shards in hand for a worker at most.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine import lease_size, run
from t2i_shards.pipeline.stages.stage import StageResult
from tests.conftest import ray_folder

SHARDS, WORKERS = 2000, 2


class Nothing:
    """Stage."""

    resources = Resources(cpus=1)

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, shard: int) -> StageResult:
        return StageResult()


def spent() -> Counter[str]:
    """CPU seconds so far of this process and those below it, by name; the wall time as `wall`."""
    seconds = Counter({"wall": time.perf_counter()})
    for process in (me := psutil.Process(), *me.children(recursive=True)):
        times = process.cpu_times()
        name = "driver" if process == me else process.cmdline()[0].rsplit("/", 1)[-1].removeprefix("ray::")[:12]
        seconds[name] += times.user + times.system
    return seconds


def main() -> None:
    if len(sys.argv) > 1:
        lease_size.MOST = int(sys.argv[1])
    marks: list[Counter[str]] = []
    made: list[int] = []

    def mark(shard: int, _: StageResult | None) -> None:
        made.append(shard)
        if len(made) in (WORKERS, SHARDS):
            marks.append(spent())

    with ray_folder() as folder:
        os.environ |= {"PYTHONPATH": os.fspath(Path(__file__).parents[2])}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        import ray  # reads these

        quiet = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100_000_000}
        ray.init(address="local", num_cpus=WORKERS, _temp_dir=os.fspath(folder), **quiet)
        run(Nothing(), range(SHARDS), "ray", WORKERS, mark)
        ray.shutdown()
    used = marks[1] - marks[0]
    wall = used.pop("wall")
    print(f"{wall:.1f} s, {used.total():.2f} CPU s:", *(f"{n} {s:.2f}" for n, s in used.most_common() if s > 0.02))


if __name__ == "__main__":
    main()
