"""The tiny base of the family that a test asks for."""

from __future__ import annotations

import pytest

from t2i_shards.adapters.base import StableDiffusion


@pytest.fixture
def base(request: pytest.FixtureRequest) -> StableDiffusion:
    """The tiny base of the family that the test is asked for."""
    found: StableDiffusion = request.getfixturevalue(request.param.replace("-", "_"))
    return found
