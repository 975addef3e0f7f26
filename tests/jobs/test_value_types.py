"""What completion scripts, which tyro writes, say of options' values by the rules of jobs/value_types.py."""

from __future__ import annotations

import pytest

from t2i_shards.jobs.commands import parse_command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_value_may_be(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_command(["--tyro-print-completion", shell])
    script = capsys.readouterr().out
    assert "lanes" in script  # of train, a number or nothing
    for wrong in ("{None", "(default: )"):
        assert wrong not in script
