from __future__ import annotations

import pytest

from adapters.base import Base, load_base


@pytest.fixture(scope="session")
def tiny() -> Base:
    """The tiny base; whoever changes it changes it back."""
    return load_base("tiny")
