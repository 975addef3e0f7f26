"""An adapter, and pictures before they are rounded."""

from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    """Large enough to matter: ten times what a new adapter gives."""
    made = make_adapter(adapter_config_for("small", 1, (32, 32, 32, 64)), 0)
    with torch.no_grad():
        for stage in made.body:
            stage.out_conv.weight *= 10  # type: ignore[union-attr, operator]
    return made


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as floats, as diffusers gives them, so that rounding hides no difference."""
    monkeypatch.setattr(
        "t2i_shards.adapters.inference.sampler.to_pixels", lambda p: (p / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    )
