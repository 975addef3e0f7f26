"""A plan of tars that is made in workers is the plan of one process, byte for byte, whatever is in the tars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.download_commit import sweep_drafts
from t2i_shards.pipeline.dataset.left_out import read_named
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources import left_out
from t2i_shards.pipeline.sources.tars import parts as parts_of_tars
from t2i_shards.pipeline.sources.tars import source as source_of_tars
from t2i_shards.pipeline.sources.tars.maps import MapColumn
from t2i_shards.pipeline.sources.tars.order import Keys
from t2i_shards.pipeline.sources.tars.parts import MixedParts, TarPart, arrange_tars
from t2i_shards.pipeline.sources.tars.source import TarsSource
from t2i_shards.pipeline.stages import plan_parts
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.plan_parts import CountParts, Run
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from tests.pipeline.publish.toys import contents
from tests.pipeline.sources.tars.toys import JPEG, write_tar
from tests.pipeline.stages.runs import backwards, here

RISING = ["abc", "de", "", "fghi", "j"]
KEYS = {
    "rising": RISING,
    "rising through tars that are not": ["fghi", "abc", "j", "", "de"],
    "out of order within a tar": ["acb", "d", "gfe"],
    "the same in every tar": ["abc", "abc", "ab"],
    "the last of one is the first of another": ["abc", "cde"],
    "mixed, no two the same": ["aeb", "cgd", "f", "zy"],
    "mixed, two the same inside": ["cdf", "abdg"],
    "one in two tars of one": ["a", "b", "a"],
    "one that is not legal": ["ab", "cé", "d"],
    "too long": ["ab", ["c" * 65], "d"],
    "none": ["", ""],
}


@pytest.fixture(autouse=True)
def few_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_parts, "LONG", 1e-9)


def write_tars(folder: Path, tars: Sequence[Sequence[str]]) -> None:
    """Each fourth sample has no caption, and there are members of which something is noted or left out."""
    for number, keys in enumerate(tars):
        members: dict[str, Any] = {"no ending": b"", f"{number}.gif": b"GIF", f"only{number}.txt": "t"}
        for place, key in enumerate(keys):
            members |= {f"{key}.jpg": JPEG, f"{key}.json": {"license": "CC0", "n": place} if place else "{"}
            members |= {f"{key}.txt": f"of {key} " + "word " * (1000 * (place == 1))} if place != 3 else {}
        write_tar(folder / f"{number}.tar", members)


def plan(root: Path, source: TarsSource, run: Run | None, size: int = 2) -> Mapping[str, bytes]:
    plan_dataset(str(root), source, Geometry(64), size, run=run)
    return contents(root)


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_whatever_the_keys(keys: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "AT_ONCE", 3)
    write_tars(tmp_path / "tars", keys)
    source = TarsSource(str(tmp_path / "tars"))
    if not any(keys):
        lines = [refused(tmp_path / name, source, run) for name, run in (("one", None), ("parts", here()))]
        assert lines[0] == lines[1]
        return
    seen = list[int]()
    whole = plan(tmp_path / "one", source, None)
    plan_dataset(str(tmp_path / "parts"), source, Geometry(64), 2, seen.append, here(backwards))
    assert contents(tmp_path / "parts") == whole
    dataset = Dataset(open_store(str(tmp_path / "parts")))
    assert sum(seen) == dataset.description.samples == sum(len(of) - (len(of) > 3) for of in keys)
    assert len(list(read_named(dataset.store))) == 2 * len(keys) + sum(len(of) > 3 for of in keys)


def refused(root: Path, source: TarsSource, run: Run | None) -> str:
    with pytest.raises(RequestError) as caught:
        plan(root, source, run)
    assert not [name for name in contents(root) if name.startswith("drafts")]
    return str(caught.value)


def test_a_damaged_tar_columns_and_digests(tmp_path: Path) -> None:
    """Bytes are compared, so of the pictures no map has to be one."""
    folder = tmp_path / "tars"
    for number, keys in enumerate(("ab", "cd", "ef")):
        members = {f"{key}.{end}": JPEG for key in keys for end in ("jpg", "sketch.png")} | {f"{keys[0]}.txt": "t"}
        write_tar(folder / f"{number}.tar", members | {f"{keys[1]}.txt": "t", "x.jpg": JPEG, "x.txt": "no map"})
    cut = (folder / "1.tar").read_bytes()
    (folder / "1.tar").write_bytes(cut[: 3 * len(cut) // 5])
    source = TarsSource(str(folder), columns=(MapColumn("sketch"),))
    whole = plan(tmp_path / "one", source, None)
    assert plan(tmp_path / "parts", source, here(backwards)) == whole
    named = [one.reason for one in read_named(open_store(str(tmp_path / "parts")))]
    assert {"tar damaged or cut, the rest of it not read", "no sketch.png"} <= set(named)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  2.tar\n")
    lines = [refused(tmp_path / name, source, run) for name, run in (("a", None), ("b", here()))]
    assert lines[0] == lines[1]
    assert re.search(r"2\.tar: must have sha256 0{64}, .*; fetch it again$", lines[0])
    (folder / "SHA256SUMS").unlink()
    (folder / "3.tar").write_bytes(b"none" * 600)
    lines = [refused(tmp_path / name, source, run) for name, run in (("c", None), ("d", here()))]
    assert lines[0] == lines[1]
    assert "3.tar: must be a tar, not packed" in lines[0]


def test_a_bucket(tmp_path: Path, bucket: str) -> None:
    import boto3

    write_tars(tmp_path / "tars", RISING)
    for path in (tmp_path / "tars").iterdir():
        boto3.client("s3").upload_file(str(path), bucket.removeprefix("s3://"), f"tars/{path.name}")
    whole = plan(tmp_path / "one", TarsSource(str(tmp_path / "tars")), None)
    plan_dataset(f"{bucket}/root", TarsSource(f"{bucket}/tars"), Geometry(64), 2, run=here())
    store = open_store(f"{bucket}/root")
    assert {name: bytes(store.load(name)) for name in whole} == dict(whole)
    assert store.names("drafts") == []


def test_each_tar_is_read_once_and_few_rows_start_no_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tars(tmp_path / "tars", RISING)
    source = TarsSource(str(tmp_path / "tars"))
    whole = plan(tmp_path / "one", source, None)
    monkeypatch.setattr(parts_of_tars, "ROW_SECONDS", 0.0)
    stages = list[Stage]()

    def run(stage: Stage, *of: Any) -> Sequence[StageResult]:
        stages.append(stage)
        return here()(stage, *of)

    read = list[str]()
    monkeypatch.setattr(source_of_tars, "check_sum", lambda file, tar, sums: read.append(file.name))
    assert plan(tmp_path / "parts", source, run) == whole
    assert [type(stage) for stage in stages] == [CountParts]
    assert read == [f"{number}.tar" for number in range(len(RISING))]


@pytest.mark.parametrize("swept", [False, True])
def test_two_commands_plan_at_once_and_what_one_left_behind_goes_with_the_shards(
    swept: bool, tmp_path: Path
) -> None:
    write_tars(tmp_path / "tars", RISING)
    source = TarsSource(str(tmp_path / "tars"))
    store = open_store(str(tmp_path / "root"))
    left_behind = PlanDrafts(store).path(0, "rows")
    store.create_bytes(left_behind, b"of a command that was killed")

    def run(stage: Stage, *of: Any) -> Sequence[StageResult]:
        made = here()(stage, *of)
        plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2, run=here())
        if swept:  # as a command does whose shards are done
            sweep_drafts(store, set())
        return made

    made = dict(plan(tmp_path / "root", source, run))
    assert (made.pop(left_behind, None) is None) == swept
    assert made == plan(tmp_path / "one", source, None)
    store.create_bytes("drafts/000003.0a.parquet", b"")
    sweep_drafts(store, {1})
    assert store.names("drafts") == ["000003.0a.parquet"]


def test_only_tars_that_are_mixed_are_put_in_order_together(tmp_path: Path) -> None:
    drafts = PlanDrafts(open_store(str(tmp_path)))

    def arrange(keys: Sequence[str]) -> list[Any]:
        told = []
        for of in keys:
            told.append(Keys())
            for key in of:
                told[-1].add(key)
        parts = [TarPart(None, None, drafts, number) for number in range(len(keys))]  # type: ignore[arg-type]
        return [part for part, _ in arrange_tars(parts, told)]

    for name, keys in KEYS.items():
        mixed = any(isinstance(part, MixedParts) for part in arrange(keys))
        assert mixed == name.startswith("mixed"), name
