"""ingest laion as a user types it: the gate, another try at what may pass, and requests that are wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stream import open_stream
from tests.faults.bad_web import HEALED, serve, way_of
from tests.faults.test_killed_download import EXPECTED, host_of
from tests.faults.toys import problems

ROWS = 60


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve() as port:
        yield port


def write(path: Path, port: int, **changes: list[object]) -> str:
    numbers = [*range(ROWS), 0]  # the last has the first's picture
    columns = {
        "URL": [f"http://{host_of(i)}:{port}/{i}.jpg" for i in numbers],
        "TEXT": [f"picture {i}" for i in numbers],
        "AESTHETIC_SCORE": [6.0] * len(numbers),
    }
    pq.write_table(pa.table(columns | changes), path)
    return str(path)


def command(metadata: str, root: Path, port: int, *more: str) -> list[str]:
    return [
        *("ingest", "laion", "--metadata", metadata, "--out", str(root), "--size", "64", "--shard-size", "61"),
        *("--allow-private", "127.0.0.0/8", "--ports", str(port), "--url-seconds", "2", "--attempts", "1"),
        *("--picture-bytes", "300000", "--host-connections", "32", "--engine", "local", "--workers", "1"),
        *("--min-aesthetic", "5", "--json", *more),
    ]


def test_the_gate_and_another_try(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata, root = write(tmp_path / "m.parquet", port), tmp_path / "root"
    numbers = [*range(ROWS), 0]
    ways = [way_of(i) for i in numbers]
    good = ways.count("ok")
    assert run(command(metadata, root, port, "--min-yield", "0.9")) == 3
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["yield"] == good / len(ways)
    assert told["reasons"] == {
        reason: sum(EXPECTED[way] == reason for way in ways) for reason in {EXPECTED[w] for w in ways} - {"ok"}
    }
    gate, *table = told["problems"]
    assert gate.startswith(f"yield: {good} of 61 rows became samples")
    assert gate.endswith("is under --min-yield 0.9")
    assert any(line.startswith("  127.0.0.1: ") for line in table)
    assert told["duplicates"] == {"exact": 1}

    HEALED.set()
    try:
        # Everything would answer now, but only what may pass is asked again.
        assert run(command(metadata, root, port, "--min-yield", "0.5", "--retry-failed")) == 0
    finally:
        HEALED.clear()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    passing = sum(way in ("http 503", "http 429", "drip", "silence", "cut", "reset") for way in ways)
    assert passing
    assert told["yield"] == (good + passing) / len(ways)
    dataset = Dataset.open(str(root))
    assert [receipt.planned for receipt in dataset.receipts(IMAGES).values()] == [61, passing]
    assert problems(root) == []
    assert len(open_stream(str(root), [], duplicates=False)) == good + passing - 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--min-aesthetic", "7"), r"the source has no pictures left \(aesthetic below minimum 61\)"),
        (("--max-unsafe", "0.5"), "punsafe"),
        (("--samples", "0"), "--samples must be at least 1, not 0"),
        (("--ports", "0"), "--ports must lie in 1..65535, not 0"),
        (("--allow-private", "not a host"), "--allow-private must be host names"),
        (("--metadata", "/nowhere/*.parquet"), "/nowhere/"),
    ],
)
def test_a_wrong_request_is_one_line(
    more: tuple[str, ...], said: str, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = write(tmp_path / "m.parquet", port)
    assert run(command(metadata, tmp_path / "root", port, *more)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert not (tmp_path / "root" / "dataset.json").exists()


def test_changed_options_and_metadata_are_refused_by_name(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, root = write(tmp_path / "m.parquet", port), tmp_path / "root"
    plan_dataset(str(root), LaionSource(metadata, Filters(min_aesthetic=5)), Geometry(64), 61)
    assert run(command(metadata, root, port, "--seed", "1")) == 2
    assert "was made with seed 0, this asks for 1; use another --out" in capsys.readouterr().err
    write(tmp_path / "m.parquet", port, TEXT=["other"] * 61)
    assert run(command(metadata, root, port)) == 2
    assert "was made with metadata_sha256" in capsys.readouterr().err
