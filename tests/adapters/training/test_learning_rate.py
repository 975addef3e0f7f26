from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_scheduler

from t2i_shards.adapters.training.config import OptimizerConfig, RateSchedule
from t2i_shards.adapters.training.learning_rate import check_warmup, learning_rate
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import read_log
from tests.adapters.toys import toy_config, toy_stream

STEPS = 20


@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("constant", 5), ("cosine", 0), ("cosine", 5)])
def test_rates_are_those_of_diffusers_scripts(schedule: RateSchedule, warmup: int) -> None:
    """Theirs warm up from 0, ours from the first part of the rate: after the warm-up they are equal."""
    config = OptimizerConfig(lr=1e-3, lr_schedule=schedule, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS)
    for step in range(STEPS):
        ours = learning_rate(config, step, STEPS)
        if step < warmup:
            assert ours == pytest.approx(theirs.get_last_lr()[0] + config.lr / warmup)
        else:
            assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_a_warmup_must_end_before_the_training() -> None:
    with pytest.raises(RequestError, match="--warmup-steps must be below the 20 steps of the training, not 20"):
        check_warmup(OptimizerConfig(warmup_steps=20), STEPS)
    check_warmup(OptimizerConfig(warmup_steps=19), STEPS)


def test_the_log_has_the_rate_that_each_step_was_taken_with(tiny: object, tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=4, lr=1e-3, warmup_steps=2, lr_schedule="cosine")
    Training(config, toy_stream(), tiny).run()  # type: ignore[arg-type]
    assert [line.lr for line in read_log(tmp_path / "log.jsonl")] == pytest.approx([None, 5e-4, 1e-3, 1e-3, 5e-4])
