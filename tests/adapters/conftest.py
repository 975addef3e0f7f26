from __future__ import annotations

import pytest

from t2i_shards.adapters.base import StableDiffusion, load_base


@pytest.fixture(scope="session")
def tiny() -> StableDiffusion:
    """The tiny base; a test that changes it must change it back."""
    return _load("tiny")


@pytest.fixture(scope="session")
def tiny_xl() -> StableDiffusion:
    """The tiny base of the SDXL family; a test that changes it must change it back."""
    return _load("tiny-xl")


def _load(name: str) -> StableDiffusion:
    base = load_base(name)
    assert isinstance(base, StableDiffusion)
    return base
