"""Whatever a file holds that is read back: no traceback, no hang, bounded memory, nothing written elsewhere."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.__main__ import run
from pipeline.dataset.dataset import Dataset
from pipeline.shards.table import encode_table
from pipeline.shards.tar import read_samples
from pipeline.stages.verify import plan_verify, verify_tables
from tests.faults.specimens import HerePool, alter_member, altered, make_downloaded, make_scenes
from tests.pipeline.publish.toys import publish_here

SECONDS, MEGABYTES = 60, 600
"""What a command may take at most on files of a few kilobytes; it takes less than one, and ten."""

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


@dataclass(frozen=True)
class World:
    """base: holds everything; out: what commands may write in."""

    base: Path
    out: Path

    def file(self, pattern: str) -> Path:
        [found] = self.base.glob(pattern)
        return found

    def tell(self, words: str) -> int:
        """The exit code of a command, which wrote nothing outside `out`, and ended in lines."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        before = _listing(self.base)
        said = io.StringIO()
        signal.alarm(SECONDS)
        try:
            with redirect_stderr(said), redirect_stdout(said):
                code = run(words.split())
        finally:
            signal.alarm(0)
        assert code in (0, 2, 3), said.getvalue()
        assert "Traceback" not in said.getvalue()
        after = {path for path in _listing(self.base) if self.out not in path.parents}
        assert after <= before, "a command wrote elsewhere"
        return code

    def commands(self, root: str) -> dict[str, str]:
        """Those that read a dataset and write nothing into it; with a publication, also its publisher."""
        here = "--engine local --workers 1"
        if root == "packed":
            return {"publish": f"publish {self.base}/web --to {self.base}/packed --shard-size 10 {here}"}
        at = f"{self.base}/{root}"
        return {
            "status": f"status {at}",
            "verify": f"verify {at} {here}",
            "report": f"report {at} --out {self.out}/page.html {here}",
            "publish": f"publish {at} --to {self.out}/published --shard-size 10 --readers webdataset {here}",
        }


def _listing(base: Path) -> set[Path]:
    return {path for path in base.rglob("*") if ".scratch" not in path.parts}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("world")
    make_downloaded(base / "web", base / "folder")
    make_scenes(base / "scenes")
    publish_here(Dataset.open(os.fspath(base / "web")), base / "packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["pipeline.engine.run"], "open_pool", HerePool)
        patch.chdir(base)
        yield World(base, base / "out")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Memory is measured over a test, for what is handed back to the system cannot be seen afterwards."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1000


SHALLOW = (b"", b"{", b"null", b"[1, 2]", b"<html>", b"\xff\xfe\x00", b"PAR1PAR1", bytes(2000), b"1e999", b"NaN")
RAW = st.sampled_from([*SHALLOW, b'"\\ud800"', b"9" * 6000, b"[" * 200_000, b'{"a":' * 200_000])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 1)
    | st.sampled_from([2**31, 2**53, 2**63, 10**30, -(2**63)])
    | st.floats()
    | st.sampled_from(["", "x", "-1", "../../x", "/etc/passwd", "\ud800", "\u202e", "a\x1b[2J", "a" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, or with some bytes changed."""
    if draw(st.booleans()):
        return whole[: draw(st.integers(0, max(0, len(whole) - 1)))]
    data = bytearray(whole)
    for place in draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data)


@st.composite
def changed_json(draw: st.DrawFn, whole: bytes) -> bytes:
    """With an entry, wherever in it, removed, replaced or added."""
    record = json.loads(whole)
    place: Any = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys)) if keys else "more"
        if not isinstance(place, dict) and not keys:
            place.append(draw(VALUES))
            break
        if keys and isinstance(place[key], dict | list) and draw(st.booleans()):
            place = place[key]
            continue
        how = draw(st.sampled_from(["remove", "replace", "replace", "replace", "add"]))
        if how == "remove" and keys:
            del place[key]
        elif how == "add" and isinstance(place, dict):
            place["more"] = draw(VALUES)
        else:
            place[key] = draw(VALUES)
        break
    return json.dumps(record).encode()


@st.composite
def changed_table(draw: st.DrawFn, whole: bytes) -> bytes:
    """With a column dropped, emptied or replaced, rows dropped or doubled."""
    table = pq.read_table(io.BytesIO(whole), use_threads=False)
    how = draw(st.sampled_from(["column", "column", "column", "rows", "twice", "drop", "nothing"]))
    if how == "rows":
        return encode_table(table.slice(draw(st.integers(0, len(table)))))
    if how == "twice":
        return encode_table(pa.concat_tables([table, table]))
    if how == "nothing":
        return encode_table(pa.table({}))
    name = draw(st.sampled_from(table.column_names))
    if how == "drop":
        return encode_table(table.drop_columns([name]))
    of = table.schema.field(name).type
    odd = [None, -7, 2**62, 1.5, float("nan"), "x\u202e/../", b"\xff\xfe", [[1]], {"a": 1}, True]
    value = draw(st.sampled_from(odd))
    column = pa.nulls(len(table), of) if value is None else pa.array([value] * len(table))
    return encode_table(table.set_column(table.column_names.index(name), name, column))


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


def _try(world: World, data: st.DataObject) -> None:
    root, files = data.draw(alterations(world))
    words = data.draw(st.sampled_from(sorted(world.commands(root).values())))
    with altered(files):
        world.tell(words)


QUICK = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@QUICK
@given(data=st.data())
def test_an_altered_file_ends_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


@pytest.mark.soak
@settings(QUICK, derandomize=False, max_examples=3000)
@given(data=st.data())
def test_many_altered_files_end_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


def test_unaltered_files_are_whole(world: World) -> None:
    """The positive control: every command ends with 0 on what the others alter."""
    for root in ("web", "scenes", "packed"):
        for name, words in world.commands(root).items():
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
    """The shard agrees with its receipt: whoever made them wrote it so."""
    root = world.base / "scenes"
    first = next(read_samples(memoryview((root / "images/000000.tar").read_bytes())))
    data = json.dumps(WRONG[where](json.loads(bytes(first.members["json"])))).encode()
    with altered(alter_member(root, "images", "json", data)):
        errors = plan_verify(Dataset.open(os.fspath(root)))(0).errors
    [line] = [line for line in errors if "json" in line]
    assert line.startswith(f"images/000000: {first.key}: its json must have its format (")
    assert where in line
