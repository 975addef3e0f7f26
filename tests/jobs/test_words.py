from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.words import take_file
from t2i_shards.pipeline.errors import RequestError


@pytest.mark.parametrize("words", [["--log", "f", "status", "r"], ["status", "--log=f", "r"]])
def test_a_file_is_taken_wherever_it_is(words: list[str]) -> None:
    assert take_file(words, "--log") == (Path("f"), ["status", "r"])


@pytest.mark.parametrize("words", [["--log"], ["--log="], ["--log", "a", "--log", "b"], ["--log", "--json", "r"]])
def test_it_is_one_and_no_other_option(words: list[str]) -> None:
    with pytest.raises(RequestError, match="--log must be given"):
        take_file(words, "--log")
