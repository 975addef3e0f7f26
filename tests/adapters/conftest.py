from __future__ import annotations

import pytest

from adapters.base import Base, load_base


@pytest.fixture(scope="session")
def tiny() -> Base:
    """The tiny base; whoever changes it changes it back."""
    return load_base("tiny")


@pytest.fixture(scope="session")
def tiny_xl() -> Base:
    """The tiny base of the SDXL family; whoever changes it changes it back."""
    return load_base("tiny-xl")
