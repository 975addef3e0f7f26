"""Whatever a file that is read back contains: no traceback, no hang, bounded memory, nothing written elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine.run import open_pool
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.stages.verify import plan_verify, verify_tables
from tests.faults.alterations import QUICK, RAW, changed_bytes, changed_json, changed_table
from tests.faults.specimens import HerePool, World, alter_member, altered, make_downloaded, make_scenes
from tests.pipeline.publish.toys import publish_here

JSON = (
    "web/dataset.json",
    "web/color/column.json",
    "scenes/keypose/column.json",
    "packed/publish.json",
    "web/plan/left_out.json",
    "web/supplements/000001.json",
    "web/images/000001.json",
    "web/color/000000.json",
    "packed/receipts/train-000000.json",
)
TABLES = (
    "web/plan/000001.parquet",
    "web/plan/000000.seen.parquet",
    "web/images/000000.rows.parquet",
    "web/tombstones/000001.parquet",
    "web/duplicates/*.parquet",
)
MEMBERS = (("web", "images", "json"), ("scenes", "images", "json"), ("scenes", "keypose", "keypose.json"))


def commands(world: World, root: str, engine: str = "local") -> dict[str, str]:
    """Those that read a dataset and write nothing into it; with a publication, also its publisher."""
    here = f"--engine {engine} --workers 1"
    if root == "packed":
        return {"publish": f"publish {world.base}/web --to {world.base}/packed --shard-size 10 {here}"}
    at = f"{world.base}/{root}"
    return {
        "status": f"status {at}",
        "verify": f"verify {at} {here}",
        "report": f"report {at} --out {world.out}/page.html {here}",
        "publish": f"publish {at} --to {world.out}/published --shard-size 10 --readers webdataset {here}",
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("world")
    make_downloaded(base / "web", base / "folder")
    make_scenes(base / "scenes")
    publish_here(Dataset.open(os.fspath(base / "web")), base / "packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["t2i_shards.pipeline.engine.run"], "open_pool", HerePool)
        patch.chdir(base)
        yield World(base, base / "out")


@st.composite
def alterations(draw: st.DrawFn, world: World) -> tuple[str, dict[Path, bytes]]:
    """(the dataset, path -> bytes of the files that are altered)"""
    kind = draw(st.sampled_from(["json", "json", "table", "member"]))
    if kind == "member":
        root, column, member = draw(st.sampled_from(MEMBERS))
        tar = world.base / root / column / "000000.tar"
        whole = bytes(next(read_samples(memoryview(tar.read_bytes()))).members[member])
        data = draw(RAW | changed_bytes(whole) | changed_json(whole) | changed_json(whole))
        return root, alter_member(world.base / root, column, member, data)
    pattern = draw(st.sampled_from(JSON if kind == "json" else TABLES))
    path = world.file(pattern)
    whole = path.read_bytes()
    parsed = changed_json(whole) if kind == "json" else changed_table(whole)
    return pattern.split("/")[0], {path: draw(RAW | changed_bytes(whole) | parsed | parsed)}


def _try(world: World, data: st.DataObject, engine: str = "local") -> None:
    root, files = data.draw(alterations(world))
    words = data.draw(st.sampled_from(sorted(commands(world, root, engine).values())))
    with altered(files):
        world.tell(words)


@QUICK
@given(data=st.data())
def test_an_altered_file_ends_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


@pytest.mark.soak
@settings(QUICK, derandomize=False, max_examples=3000)
@given(data=st.data())
def test_many_altered_files_end_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


@pytest.mark.soak
@settings(QUICK, derandomize=False, max_examples=30)
@given(data=st.data())
def test_altered_files_end_in_lines_on_ray(world: World, ray_address: str, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["t2i_shards.pipeline.engine.run"], "open_pool", open_pool)
        patch.setenv("RAY_ADDRESS", ray_address)
        _try(world, data, "ray")


def test_unaltered_files_are_whole(world: World) -> None:
    """The positive control: every command ends with 0 on what the others alter."""
    for root in ("web", "scenes", "packed"):
        for name, words in commands(world, root).items():
            assert world.tell(words) == 0, (root, name)


@pytest.mark.parametrize("data", [b"", b"PAR1PAR1", b"{", b"[" * 200_000, b"\xff\xfe\x00"])
@pytest.mark.parametrize("pattern", ["web/plan/left_out.json", "web/images/000001.json", *TABLES])
def test_verify_reads_every_kind_of_file(pattern: str, data: bytes, world: World) -> None:
    file = world.file(pattern)
    with altered({file: data}):
        dataset = Dataset.open(os.fspath(world.base / "web"))
        stage = plan_verify(dataset)
        problems = [*verify_tables(dataset), *(line for shard in dataset.shards for line in stage(shard).errors)]
    assert problems
    assert any(line.startswith(file.relative_to(world.base / "web").as_posix()) for line in problems)
    assert not any("\n" in line for line in problems)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "$.width": lambda known: known | {"width": "64"},
    "$.captions": lambda known: known | {"captions": []},
    "$.placement": lambda known: known | {"placement": None},
    "`key`": lambda known: {name: value for name, value in known.items() if name != "key"},
}


@pytest.mark.parametrize("where", WRONG)
def test_verify_reads_the_members_of_samples(where: str, world: World) -> None:
    """The shard agrees with its receipt, because both were written by the attacker."""
    root = world.base / "scenes"
    first = next(read_samples(memoryview((root / "images/000000.tar").read_bytes())))
    data = json.dumps(WRONG[where](json.loads(bytes(first.members["json"])))).encode()
    with altered(alter_member(root, "images", "json", data)):
        errors = plan_verify(Dataset.open(os.fspath(root)))(0).errors
    [line] = [line for line in errors if "json" in line]
    assert line.startswith(f"images/000000: {first.key}: its json must have its format (")
    assert where in line
