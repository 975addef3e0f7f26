from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.training.ema import Ema


def _adapter(value: float) -> Adapter:
    """All of whose weights are `value`."""
    adapter = make_adapter(adapter_config_for("tiny", 1, (8, 8, 8, 8)), 0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.fill_(value)
    return adapter


def _values(ema: Ema) -> set[float]:
    return {value for parameter in ema.adapter.parameters() for value in parameter.unique().tolist()}


def test_the_average_follows_the_weights_by_its_decay() -> None:
    ema = Ema(_adapter(0.0), 0.75)
    ema.update(_adapter(1.0), step=1000)
    assert _values(ema) == {0.25}
    ema.update(_adapter(1.0), step=1001)
    assert _values(ema) == {0.4375}


def test_in_the_first_steps_it_follows_faster() -> None:
    """By the rule min(decay, step / (step + 10)), else it would hold the first weights for long."""
    ema = Ema(_adapter(0.0), 0.999)
    ema.update(_adapter(1.0), step=1)
    (value,) = _values(ema)
    assert value == pytest.approx(10 / 11)


def test_it_is_a_copy_that_learns_nothing_and_changes_nothing() -> None:
    adapter = _adapter(1.0)
    ema = Ema(adapter, 0.5)
    ema.update(_adapter(3.0), step=1000)
    assert not any(parameter.requires_grad for parameter in ema.adapter.parameters())
    assert {value for p in adapter.parameters() for value in p.unique().tolist()} == {1.0}
    assert all(parameter.requires_grad for parameter in adapter.parameters())
