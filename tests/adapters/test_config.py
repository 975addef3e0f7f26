from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RequestError
from tests.adapters.toys import toy_config


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": 0}, "--steps must be above 0, not 0"),
        ({"batch": -1}, "--batch must be above 0, not -1"),
        ({"lr": 0.0}, "--lr must be above 0"),
        ({"checkpoint_every": 0}, "--checkpoint-every must be above 0"),
        ({"threads": 0}, "--threads must be at least 1, not 0"),
        ({"condition": "color", "column": "seg"}, "--condition color takes no --column, not even seg"),
        ({"size": 100}, "--size must be a positive multiple of 64, not 100"),
    ],
)
def test_senseless_request_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        toy_config(tmp_path, **change)


def test_configuration_needs_no_torch() -> None:
    code = "import sys, adapters.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
