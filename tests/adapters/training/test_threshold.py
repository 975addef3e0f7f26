"""--threshold random: one for each batch; runs that were begun with one for each visit keep that rule."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.run_folder import read_begun
from t2i_shards.adapters.training.example import draw_edge, make_example
from t2i_shards.adapters.training.loader import MicroBatches
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.extractors.atomic import write_json
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from tests.adapters.toys import toy_config, toy_stream


def begin(tiny: Base, out: Path, **changes: Any) -> Training:
    return Training(toy_config(out, threshold="random", **changes), toy_stream(), tiny)


def edges_of(training: Training, steps: int) -> list[list[float]]:
    """The thresholds of each step's batch."""
    batches = MicroBatches(training.stream, training.crop_config, training.config.seed, training.rank_batch, 0)
    return [torch.cat([batch.edges for batch in step]).tolist() for step in islice(iter(batches), steps)]


def test_a_new_run_draws_one_for_each_batch_and_resumes_so(tiny: Base, tmp_path: Path) -> None:
    training = begin(tiny, tmp_path / "run")
    expected = [pytest.approx([draw_edge(0, step)] * 2) for step in range(8)]
    assert edges_of(training, 8) == expected
    assert (read_begun(tmp_path / "run") or {})["threshold_per"] == "batch"
    assert edges_of(begin(tiny, tmp_path / "run"), 8) == expected


def test_an_earlier_run_resumes_with_one_for_each_visit_bit_for_bit(tiny: Base, tmp_path: Path) -> None:
    begin(tiny, tmp_path / "run")
    record = dict(read_begun(tmp_path / "run") or {})
    del record["threshold_per"]  # as it was written then
    write_json(tmp_path / "run" / "run.json", record)
    training = begin(tiny, tmp_path / "run")

    def make(sample: Sample, epoch: int, shape: object = None) -> float:
        return make_example(sample, training.crop_config, 0, str(epoch)).edge

    visits = [edge for _, edge in training.stream.take(range(16), make)]
    assert len(set(visits)) == 16
    assert [edge for step in edges_of(training, 8) for edge in step] == torch.tensor(visits).tolist()
    assert "threshold_per" not in (read_begun(tmp_path / "run") or {})


def test_a_fixed_threshold_is_no_other_run_than_before(tiny: Base, tmp_path: Path) -> None:
    fixed = toy_config(tmp_path / "run")
    Training(fixed, toy_stream(), tiny)
    record = dict(read_begun(tmp_path / "run") or {})
    del record["threshold_per"]
    write_json(tmp_path / "run" / "run.json", record)
    assert edges_of(Training(fixed, toy_stream(), tiny), 2) == [[0.5, 0.5]] * 2
    with pytest.raises(RequestError, match="begun with threshold fixed, and this command asks for random"):
        begin(tiny, tmp_path / "run")
