"""The summary of a run: read as it was written, by an older version too, or refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from t2i_shards.adapters.summary import SUMMARY, TrainSummary, read_summary
from t2i_shards.extractors.atomic import write_json
from t2i_shards.pipeline.errors import RequestError

FINISHED = TrainSummary(10, 4, 80, 2.5, 0.9, 0.7, "run/adapter", "0" * 64, 0.1, 1 << 30, 1, 8)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    write_json(tmp_path / SUMMARY, asdict(FINISHED))
    assert read_summary(tmp_path) == FINISHED


def test_one_of_an_older_version_has_the_defaults_of_what_it_lacks(tmp_path: Path) -> None:
    record = asdict(FINISHED)
    for name in ("wait", "memory", "skipped", "best_step"):
        del record[name]
    write_json(tmp_path / SUMMARY, record)
    assert read_summary(tmp_path) == TrainSummary(10, 4, 80, 2.5, 0.9, 0.7, "run/adapter", "0" * 64)


def test_an_entry_that_no_version_wrote_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / SUMMARY, {**asdict(FINISHED), "colour": 1})
    with pytest.raises(RequestError, match=r"summary\.json: must "):
        read_summary(tmp_path)
