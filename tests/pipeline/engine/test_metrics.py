"""What Prometheus reads from Ray's exporter about a run, and the Grafana board that shows it."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

from t2i_shards.pipeline.engine.metrics import RunMetrics
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stages.stage import StageResult

BOARD = Path(__file__).parents[3] / "jobs" / "cluster" / "grafana.json"
LINE = re.compile(r"^(ray_t2i_shards_\w+){(.*)} (\S+)$", re.MULTILINE)
TAG = re.compile(r'\b(column|reason|outcome)="(.*?)"')


def scrape() -> dict[tuple[str, ...], float]:
    """(metric, column or outcome, reason) -> value"""
    import ray

    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as answer:
        text = answer.read().decode()
    return {
        (name, *(tag for _, tag in TAG.findall(tags))): float(value) for name, tags, value in LINE.findall(text)
    }


@pytest.mark.usefixtures("ray_address")
def test_prometheus_sees_what_runs_have_done() -> None:
    digest = "0" * 64
    drops = {"too small": 2, "none": 0}
    receipt = Receipt("measured", 0, 10, 8, 1000, digest, digest, digest, drops=drops)
    told: list[int] = []
    for shards in (9, 5):  # a command may do several runs one after the other
        advance = RunMetrics(shards).follow(lambda shard, _: told.append(shard))
        advance(0, StageResult({"measured": receipt}))
        advance(1, StageResult())
        advance(2, None)
    assert told == [0, 1, 2] * 2
    expected = {
        ("ray_t2i_shards_waiting",): 2,
        ("ray_t2i_shards_samples_total", "measured"): 16,
        ("ray_t2i_shards_bytes_total", "measured"): 2000,
        ("ray_t2i_shards_drops_total", "measured", "too small"): 4,
    }
    limit = time.monotonic() + 300
    while not expected.items() <= (seen := scrape()).items() and time.monotonic() < limit:
        time.sleep(0.5)
    assert expected.items() <= seen.items(), seen
    assert seen["ray_t2i_shards_shards_total", "made"] >= 4, "and those of earlier tests"
    assert seen["ray_t2i_shards_shards_total", "set aside"] >= 2
    # The board asks for all of these and for nothing else.
    panels = json.loads(BOARD.read_text())["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    assert set(re.findall(r"ray_t2i_shards_\w+", asked)) == {name for name, *_ in seen}
