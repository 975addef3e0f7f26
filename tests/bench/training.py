"""A training step against that of diffusers' T2I-Adapter script for SDXL: same base, adapter, batch and dtype."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import Row

ROUNDS = 3


def bench(folder: Path) -> list[Row]:
    """Each in a process of its own, for the peak of its memory; in turns."""
    del folder
    kinds = ("ours", "latents", "script")
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            runs[kind].append(measure(kind))
    rows = []
    for kind, goal in (("ours", ">= 1.3"), ("latents", ">= 2")):
        pairs = list(zip(runs[kind], runs["script"], strict=True))
        ratio = statistics.median(a["steps"] / b["steps"] for a, b in pairs)
        what = {"ours": "training step against diffusers' script", "latents": "the same, latents from a column"}[
            kind
        ]
        ours, peer = (statistics.median(run["steps"] for run in runs[k]) for k in (kind, "script"))
        rows.append(Row(f"{what}, a small SDXL at 256x256, batch 4, float32", "steps/s", ours, peer, ratio, goal))
    for kind in ("ours", "latents"):
        ours, peer = (statistics.median(run["memory"] for run in runs[k]) for k in (kind, "script"))
        what = "memory that its training takes over the loaded networks"
        named = f"{what}, with latents" if kind == "latents" else what
        rows.append(Row(f"{named} (less is better)", "MB", ours / 1e6, peer / 1e6, ours / peer, "<= 0.7"))
    return rows


def measure(kind: str) -> dict[str, float]:
    """{"steps": per second, "memory": bytes} of one kind of step."""
    command = [sys.executable, "-m", "tests.bench.training_worker", kind]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, float] = json.loads(lines[-1])
    return found
