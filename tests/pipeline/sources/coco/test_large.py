"""All annotations of train2017 fit where ingest has to hold them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HERE
from tests.pipeline.coco_large import CAPTIONS, PICTURES, POSED, SEGMENTS


@pytest.mark.soak
def test_the_annotations_of_train2017_are_read_in_three_gigabytes(tmp_path: Path) -> None:
    def run(action: str) -> str:
        command = [sys.executable, "-m", "tests.pipeline.coco_large", action, str(tmp_path / "coco")]
        return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True, timeout=900).stdout

    run("write")
    read = json.loads(run("plan"))
    print(read)
    told = [read[name] for name in ("pictures", "captions", "people", "segments")]
    assert told == [PICTURES, CAPTIONS, POSED, PICTURES * SEGMENTS]
    assert read["megabytes"] < 3000
