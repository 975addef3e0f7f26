"""Stages count the samples of the shard under way, and those who listen hear of them now and then."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline import under_way
from t2i_shards.pipeline.dataset.exclusion import Exclusion
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.publish import Publication
from t2i_shards.pipeline.publish.plan import plan_publish
from t2i_shards.pipeline.report.sample_stats import CountSamples
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.erase import plan_erase
from t2i_shards.pipeline.stages.stage import Stage
from t2i_shards.pipeline.stages.verify import plan_verify
from t2i_shards.pipeline.under_way import count_samples, tell_samples
from tests.faults.toys import Pictures, make_images
from tests.pipeline.publish.toys import toy_dataset


def test_ingest_and_extract_count_their_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "TELL_EVERY", 0.0)
    told = list[int]()
    with tell_samples(told.append):
        dataset = make_images(tmp_path / "root", Pictures(6), 6)
    assert told == [1, 2, 3, 4, 5, 6]
    told.clear()
    stage = plan_extract(dataset, ["color"], batch=4)
    stage.setup()
    with tell_samples(told.append):
        stage(0)
    assert told == [4, 6]


def test_erase_and_a_look_before_publishing_count_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = toy_dataset(tmp_path / "root", 6, 6)
    remove(dataset, "keys", ["k00001"])
    monkeypatch.setattr(under_way, "TELL_EVERY", 0.0)
    look = plan_publish(dataset, Publication(), open_store(tmp_path / "to")).survey()
    for stage in (look, plan_erase(dataset)):
        told = list[int]()
        with tell_samples(told.append):
            stage(0)
        assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["report", "report --all", "verify"])
def test_stages_that_look_at_all_columns_count_a_sample_when_each_is_done(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = toy_dataset(tmp_path / "root", 6, 6)
    exclusion = Exclusion(dataset.columns())
    stages: dict[str, Stage] = {
        "report": CountSamples(dataset, dataset.columns(), exclusion, (), (), 0),
        "report --all": CountSamples(dataset, dataset.columns(), exclusion, (), (), 2**64, strips=True),
        "verify": plan_verify(dataset),
    }
    monkeypatch.setattr(under_way, "TELL_EVERY", 0.0)
    told = list[int]()
    stage = stages[name]
    stage.setup()
    with tell_samples(told.append):
        assert not stage(0).errors
    assert told == [1, 2, 3, 4, 5, 6]


def test_numbers_are_passed_on_now_and_then() -> None:
    told = list[int]()
    with tell_samples(told.append):
        for _ in range(2000):
            count_samples()
    assert len(told) < 100
    count_samples()  # nobody listens
