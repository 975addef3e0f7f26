"""Fixtures that the files of faults share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of a driver that is a process of its own; on Ray it joins the session's."""
    if request.param == "ray":
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("ray_address"))
    return str(request.param)
