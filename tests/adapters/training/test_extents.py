"""What decided the order when a run was begun: noted once, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.adapters.training import extents
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.extents import NAME, Noted, advise_lanes, find_begun, note_extents
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import Extent
from tests.adapters.toys import toy_config

LARGE = Extent(1000, 0)


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets of which these tests use only the number of shards."""
    monkeypatch.setattr(extents.Dataset, "open", lambda root: root)
    monkeypatch.setattr(extents, "measure_extent", lambda dataset: LARGE)


def config(out: Path, lanes: int | None = None, buckets: bool = False) -> TrainConfig:
    return toy_config(out, roots=("one",), batch=8, lanes=lanes, buckets=buckets)


@pytest.mark.parametrize(("asked", "lanes"), [(None, 8), (32, 32), (1, 1)])
def test_a_run_keeps_the_lanes_that_it_was_begun_with(asked: int | None, lanes: int, tmp_path: Path) -> None:
    begun = find_begun(config(tmp_path, asked))
    assert begun == Noted((LARGE,), lanes=lanes)
    note_extents(tmp_path, begun, 0)
    assert find_begun(config(tmp_path)) == find_begun(config(tmp_path, asked)) == begun
    with pytest.raises(RequestError, match=rf"^--lanes decides the order .* was begun with {lanes}: "):
        find_begun(config(tmp_path, 16))


def test_a_new_run_says_which_lanes_would_read_each_shard_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(ranks: int, lanes: int | None = None) -> list[str]:
        caplog.clear()
        asked = toy_config(tmp_path, roots=("one",), batch=8, lanes=lanes, loaders=4)
        advise_lanes(asked, find_begun(asked), ranks)
        return caplog.messages

    assert said(8) == ["4 processes read each shard; with --lanes 32 it is 1"]
    assert said(2) == said(3) == said(8, lanes=8) == []
    monkeypatch.setattr(extents, "read_begun", lambda run: {"data": "0" * 64})
    monkeypatch.setattr(extents, "_search", lambda *of: None)
    assert said(8) == []


def test_batches_of_one_size_have_one_lane(tmp_path: Path) -> None:
    assert find_begun(config(tmp_path, buckets=True)).lanes == 1


def test_a_run_from_before_there_were_lanes_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_text(json.dumps({"begun": [{"shards": 1000, "stones": 0}], "removed": []}))
    assert find_begun(config(tmp_path)).lanes == 1
    (tmp_path / NAME).unlink()
    monkeypatch.setattr(extents, "read_begun", lambda run: {"data": "0" * 64})
    monkeypatch.setattr(extents, "_search", lambda *of: None)
    assert find_begun(config(tmp_path)) == Noted((LARGE,))
