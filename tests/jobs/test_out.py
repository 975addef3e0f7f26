"""An --out that cannot be written is refused before the work, and in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from t2i_shards.adapters.inference import generate
from t2i_shards.jobs import report
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.errors import describe_os_error
from t2i_shards.pipeline.writable import check_writable


@pytest.mark.parametrize(
    "words",
    [
        "generate --base tiny --prompt disc --size 64 --steps 1 --device cpu --out {}/pictures",
        "report ROOT --quick --out {}/page.html",
    ],
)
def test_it_is_refused_before_anything_is_painted_or_read(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*given: object, **named: object) -> None:
        raise AssertionError

    monkeypatch.setattr(generate, "generate", work)
    monkeypatch.setattr(report, "collect_dataset", work)
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert run(words.format("file").split()) == 2
    assert "in file no file can be made (Not a directory): give another --out" in capsys.readouterr().err


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_fault_of_a_file_is_told_without_its_number() -> None:
    assert describe_os_error(OSError(errno.EROFS, "Read-only", "runs/a")) == "runs/a: Read-only"
    assert describe_os_error(OSError("no number")) == "no number"
