"""Commands that have little to do start no Ray, and one that does not come up is started once more."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.command import FEW, EngineOptions
from t2i_shards.pipeline.engine import connect
from t2i_shards.pipeline.errors import IncompleteError


def test_with_nothing_left_and_few_shards_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their default engine, which is Ray."""

    def refuse() -> None:
        raise AssertionError("a Ray was asked for")

    monkeypatch.setattr("t2i_shards.pipeline.engine.nodes.connect", refuse)
    monkeypatch.setattr("t2i_shards.pipeline.engine.ray.connect", refuse)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    root = tmp_path / "root"
    ingest = f"ingest scenes --out {root} --samples 2 --size 64 --world simple"
    extract = f"extract {root} --conditions color"
    publish = f"publish {root} --to {tmp_path}/published --readers webdataset --engine local"
    for first in (f"{ingest} --engine local", f"{extract} --engine local --device cpu", publish):
        assert run(first.split()) == 0
    for command in (ingest, extract, f"verify {root}", f"verify {tmp_path}/published", f"status {root}"):
        assert run(command.split()) == 0


def test_what_is_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert [EngineOptions().for_reading(shards) for shards in (FEW, FEW + 1)] == ["local", "ray"]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert EngineOptions().for_reading(1) == "ray"


@pytest.mark.parametrize(("failures", "comes_up"), [(1, True), (2, False)])
def test_a_ray_that_does_not_come_up_is_started_once_more(
    failures: int, comes_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the machine is busy: Ray raises a plain Exception when its node is late."""
    tries: list[str] = []

    def init(**options: str) -> None:
        tries.append(options["address"])
        if len(tries) <= failures:
            raise Exception("The current node timed out during startup. This\ncould happen because")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(connect, "keep_token_private", lambda: None)
    if comes_up:
        connect.start_ray()
    else:
        with pytest.raises(IncompleteError, match=r"^Ray did not start, tried twice: The current.*--engine local"):
            connect.start_ray()
    assert tries == ["local", "local"]
