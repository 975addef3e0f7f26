"""A stream from a dataset on the Hugging Face hub: the same as from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, make_images
from tests.pipeline.stream.hub import run_reader, serve_folder
from tests.pipeline.stream.toys import name

READER = """
import json, sys
from pathlib import Path
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import open_stream
from tests.pipeline.stream.toys import name

stream = open_stream("hf://datasets/me/set/root", [], cache=Path(sys.argv[1]))
taken = list(stream.take(range(12), name))
again = list(stream.take(range(12), name))
try:
    open_stream("hf://datasets/me/set/gone", [])
except RequestError as error:
    said = str(error)
print(json.dumps([stream.digest, taken, again == taken, said]))
"""


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    make_images(tmp_path / "hub" / "root", Pictures(4), 2)
    return tmp_path / "hub"


def test_a_stream_from_the_hub(hub_folder: Path, tmp_path: Path) -> None:
    with serve_folder(hub_folder) as (address, asked):
        printed = run_reader(READER, address, str(tmp_path / "cache"))
    digest, taken, same, said = json.loads(printed)
    here = open_stream(str(hub_folder / "root"), [])
    assert digest == here.digest
    assert [(position, tuple(made)) for position, made in taken] == list(here.take(range(12), name))
    assert same
    assert sorted(path for path in asked if path.endswith(".tar")) == [
        "root/images/000000.tar",
        "root/images/000001.tar",
    ]
    assert said.startswith("hf://datasets/me/set/gone/dataset.json: not there; this is not a dataset")
