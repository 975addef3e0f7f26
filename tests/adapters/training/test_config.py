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
        ({"condition": "color", "column": "seg"}, "--condition color takes no --column, not seg"),
        ({"roots": ()}, "train needs a dataset"),
        ({"mix": (1.0, 2.0)}, "--mix must give a share for each of 1 datasets, not 2"),
        ({"mix": (-1.0,)}, "--mix must give shares above 0, not -1.0"),
        ({"ema": 1.0}, "--ema must be above 0 and below 1, not 1.0"),
        ({"empty_captions": 1.5}, "--empty-captions must be a share, 0 to 1, not 1.5"),
        ({"micro_batch": 0}, "--micro-batch must be at least 1, not 0"),
        (
            {"condition": "color", "live": True},
            "--condition color takes no --live: it is always made",
        ),
        (
            {"live": True, "column": "other"},
            "--live makes the condition itself, so .* not other",
        ),
        ({"condition": "latents"}, "--condition must be one of sketch, .* canny, not latents"),
        ({"latents": "latents", "flip": True}, "--latents are of a fixed crop, so --flip cannot be asked for"),
        ({"buckets": True, "size": 64}, "--buckets takes whole pictures, so --size cannot be asked for"),
        ({"size": 100}, "--size must be a positive multiple of 64, not 100"),
    ],
)
def test_senseless_request_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        toy_config(tmp_path, **change)


def test_configuration_needs_no_torch() -> None:
    code = "import sys, adapters.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
