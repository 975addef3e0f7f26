from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.training.loss import SCHEDULES, cubic, uniform

DRAWS = torch.rand(300_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_thirds_of_cubic_steps_are_the_papers() -> None:
    steps = cubic(DRAWS, 999)
    early, middle, late = ((steps // 333 == third).double().mean().item() for third in (2, 1, 0))
    assert (early, middle, late) == pytest.approx((0.693, 0.181, 0.126), abs=0.005)


def test_uniform_steps_are_uniform() -> None:
    assert uniform(DRAWS, 10).bincount() / len(DRAWS) == pytest.approx(torch.full((10,), 0.1), abs=0.005)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_there_is_no_step_beyond_the_last(schedule: str) -> None:
    extremes = torch.tensor([0.0, 1e-9, 1e-3, 0.5, 1 - 2**-53], dtype=torch.float64)
    steps = SCHEDULES[schedule](extremes, 1000)  # type: ignore[index]
    assert steps.dtype == torch.int64
    assert steps.min() == 0
    assert steps.max() == 999
