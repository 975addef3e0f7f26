from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.training.plan import TrainPlan, count_steps
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.toys import toy_config, toy_stream

RUN = Path("run")


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({"steps": None}, 1000),
        ({"steps": 7}, 7),
        ({"steps": None, "epochs": 10}, 500),
        ({"steps": None, "epochs": 0.5}, 25),
        ({"steps": None, "epochs": 1, "batch": 8}, 13),
        ({"steps": None, "epochs": 1.1, "batch": 1}, 110),
    ],
)
def test_epochs_are_counted_in_steps(asked: dict[str, float | None], steps: int) -> None:
    assert count_steps(toy_config(RUN, **asked), 100) == steps


def test_epochs_and_steps_exclude_each_other() -> None:
    with pytest.raises(RequestError, match="give --steps or --epochs, not both"):
        toy_config(RUN, steps=3, epochs=2)
    with pytest.raises(RequestError, match="--epochs must be above 0, not 0"):
        toy_config(RUN, steps=None, epochs=0)


def test_an_epoch_visits_each_sample_that_is_not_held_out_once(tiny: Base, tmp_path: Path) -> None:
    """12 samples, of which 2 are held out, two a step."""
    plans: list[TrainPlan] = []
    config = toy_config(tmp_path, steps=None, epochs=1.2, validate_every=10)
    summary = Training(config, toy_stream(), tiny).run(on_plan=plans.append)
    assert summary.steps == 6
    (plan,) = plans
    assert (plan.samples, plan.held_out, plan.steps, plan.begun, plan.epochs) == (10, 2, 6, 0, 1.2)
    assert plan.seconds is not None
    assert plan.seconds > 0
    Training(config, toy_stream(), tiny).run(on_plan=plans.append)
    assert len(plans) == 1, "nothing was left to do"
    more = Training(replace(config, epochs=1.6), toy_stream(), tiny).run(on_plan=plans.append)
    assert (more.steps, more.new_steps, plans[1].begun) == (8, 2, 6)


@pytest.mark.parametrize(
    ("seconds", "end"),
    [
        (None, "100 samples, 2 held out, 500 steps = 10 epochs"),
        (100.0, "= 10 epochs, about 100 s, until 22:01"),
        (3000.0, "= 10 epochs, about 50 min, until 22:50"),
        (9000.0, "= 10 epochs, about 2.5 h, until 2026-12-01 00:30"),
        (1e13, "about 2777777777.8 h"),
    ],
)
def test_what_is_about_to_be_done_is_one_line(seconds: float | None, end: str) -> None:
    config = toy_config(RUN, steps=500)
    line = TrainPlan(config, "cpu", 100, 2, 500, seconds=seconds).describe(datetime(2026, 11, 30, 22, 0))
    assert line.startswith("base tiny, adapter tiny, cpu, fp32, 100 samples, ")
    assert line.endswith(end)
    went_on = TrainPlan(toy_config(RUN, steps=500, start="old/run"), "cpu", 100, 2, 500, 300).describe(
        datetime.min
    )
    assert "adapter tiny from old/run, cpu" in went_on
    assert went_on.endswith("500 steps = 10 epochs, 300 of them done")


def test_one_epoch_is_not_several() -> None:
    line = TrainPlan(toy_config(RUN, steps=10), "cpu", 20, 2, 10).describe(datetime.min)
    assert line.endswith("10 steps = 1 epoch")
