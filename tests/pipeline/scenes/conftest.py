"""Scenes that many tests look at."""

import pytest

from t2i_shards.pipeline.scenes import Scene, render

SEED = 11


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return [render(SEED, i) for i in range(80)]
