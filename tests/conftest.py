"""Fixtures that several packages' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with real photographs, annotations and weights that lies beside some checkouts."""
    if not ASSETS.is_dir():
        pytest.skip("needs ../shared/assets (real photographs and weights), which is not beside this checkout")
    return ASSETS
