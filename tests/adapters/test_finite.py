from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from t2i_shards.adapters.finite import find_not_finite, name_not_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_tensor_that_is_not_finite_is_named(value: float, tmp_path: Path) -> None:
    good, bad = torch.ones(3), torch.tensor([0.0, value, 1.0])
    assert name_not_finite({"a": good, "b": bad, "c": bad}) == "b"
    assert name_not_finite({"a": good, "largest": torch.tensor(torch.finfo(torch.float32).max)}) is None
    (tmp_path / "ema").mkdir()
    save_file({"x": good}, tmp_path / "adapter.safetensors")
    assert find_not_finite(tmp_path) is None
    save_file({"x": good, "y": bad.half()}, tmp_path / "ema" / "weights.safetensors")
    assert find_not_finite(tmp_path) == "ema/weights.safetensors: y"


def test_whole_numbers_and_nothing_are_finite(tmp_path: Path) -> None:
    assert name_not_finite({"step": torch.tensor(7), "none": torch.zeros(0)}) is None
    assert find_not_finite(tmp_path) is None
