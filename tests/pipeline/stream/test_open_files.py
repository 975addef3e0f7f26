"""The limit of open files is raised to what a reader may need, and never lowered."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from t2i_shards.pipeline.stream.open_files import SPARE, allow_files


@pytest.fixture
def few() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.usefixtures("few")
def test_it_is_raised_to_what_is_needed_and_not_lowered() -> None:
    allow_files(100)
    assert soft() == 600
    allow_files(1000)
    assert soft() == 1000 + SPARE
    allow_files(10)
    assert soft() == 1000 + SPARE


def test_more_than_the_system_allows_is_said(few: int, caplog: pytest.LogCaptureFixture) -> None:
    if few == resource.RLIM_INFINITY:
        pytest.skip("this system has no hard limit")
    allow_files(few)
    assert soft() == few
    (line,) = caplog.messages
    assert line.startswith(f"reading may need {few + SPARE} open files, and this process may have {few}: ")
