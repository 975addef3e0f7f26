"""SIGKILL at each step of the commit: nothing partial under a final name, and the same command repairs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.drive import CHECKOUT


def die_at_each_step(base: str, tmp_path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.commit_steps", base, str(tmp_path)],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_sound(steps: list[dict[str, Any]]) -> None:
    assert steps[-1]["step"] is None
    for step in steps:
        assert not step["partial"], f"{step['step']} left a partial file"
        assert not step["litter"], f"{step['step']} left scratch that is not swept"
        assert step["same"], f"after {step['step']} the same command ended with other files"


def test_death_at_each_step_in_a_folder(tmp_path: Path) -> None:
    steps = die_at_each_step(str(tmp_path / "roots"), tmp_path)
    assert_sound(steps)
    kinds = {" ".join(step["step"].split()[:2]) for step in steps[:-1]}
    assert kinds >= {f"before {call}" for call in ("link", "fsync", "mkdir", "unlink")}
    # Linked: the plan, dataset.json, column.json, two tars, rows.parquet and two receipts.
    assert sum(step["step"].startswith("before link") for step in steps[:-1]) == 8
    assert any(step["step"] == "inside a write of a tar" for step in steps[:-1])


@pytest.mark.soak
def test_death_at_each_step_on_s3(bucket: str, tmp_path: Path) -> None:
    steps = die_at_each_step(bucket, tmp_path)
    assert_sound(steps)
    # The same files, and the object by which it is seen that the store refuses to replace one.
    assert sum((step["step"] or "").startswith("after put_object") for step in steps) == 9
