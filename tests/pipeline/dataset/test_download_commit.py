"""An images shard whose first attempt died, when the web gives other answers the second time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset import download_commit as attempts
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import draft_path, sweep_drafts
from t2i_shards.pipeline.dataset.outcomes import decode_rows, rows_path
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.commit import receipt_path, tar_path
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import problems
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = ("a-0", "a-1", "b-2", "b-3")


class Killed(BaseException):
    """In place of SIGKILL: nothing of the attempt runs after it."""


@pytest.fixture
def web(tmp_path: Path) -> Web:
    folder = tmp_path / "web"
    for seed, name in enumerate(NAMES):
        put_picture(folder, name, seed)
    put_failure(folder, "b-3", "http 503")
    return Web(str(folder), NAMES)


def begin(root: str, web: Web) -> Ingest:
    geometry = Geometry(size=64)
    stage = Ingest(plan_dataset(root, web, geometry, 4), web, {})
    stage.setup()
    return stage


def outcomes(dataset: Dataset) -> dict[str, str]:
    rows = decode_rows(dataset.store.load(rows_path(0)))
    return {row["key"][-1]: row["status"] for row in rows}


def die_before(monkeypatch: pytest.MonkeyPatch, stage: Ingest, call: str, path: str) -> None:
    """Run the stage and die before the store makes `path`."""
    kind = type(stage.dataset.store)
    real = getattr(kind, call)

    def fatal(self: Any, name: str, *args: Any) -> Any:
        if name == path:
            raise Killed
        return real(self, name, *args)

    with monkeypatch.context() as patch:
        patch.setattr(kind, call, fatal)
        with pytest.raises(Killed):
            stage(0)


def answer_otherwise(web: Web) -> None:
    """One picture fails now, one that failed is there, one is another."""
    put_failure(Path(web.folder), "a-0", "timed out")
    put_picture(Path(web.folder), "b-3", 3)
    put_picture(Path(web.folder), "b-2", 99)


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.getfixturevalue('bucket')}/root" if request.param == "s3" else str(tmp_path / "root")


def test_a_tar_without_receipt_is_adopted_with_its_makers_rows(
    root: str, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = begin(root, web)
    die_before(monkeypatch, stage, "create_bytes", rows_path(0))
    tar = bytes(stage.dataset.store.load(tar_path(IMAGES, 0)))
    answer_otherwise(web)
    receipt = stage(0).receipts[IMAGES]
    assert bytes(stage.dataset.store.load(tar_path(IMAGES, 0))) == tar
    assert (receipt.samples, receipt.planned, receipt.drops) == (3, 4, {"http 503": 1})
    assert outcomes(stage.dataset) == {"0": "ok", "1": "ok", "2": "ok", "3": "http 503"}
    assert problems(root) == []


def test_death_before_the_tar_leaves_nothing_but_what_was_seen(
    root: str, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = begin(root, web)
    die_before(monkeypatch, stage, "create", tar_path(IMAGES, 0))
    answer_otherwise(web)
    receipt = stage(0).receipts[IMAGES]
    assert outcomes(stage.dataset) == {
        "0": "timed out",
        "1": "ok",
        "2": "changed since it was first seen",
        "3": "ok",
    }
    assert receipt.samples + sum(receipt.drops.values()) == receipt.planned
    assert problems(root) == []


def test_death_before_the_receipt(root: str, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = begin(root, web)
    die_before(monkeypatch, stage, "create_bytes", receipt_path(IMAGES, 0))
    answer_otherwise(web)
    assert stage(0).receipts[IMAGES].drops == {"http 503": 1}
    assert problems(root) == []


def test_a_shard_that_is_repaired_takes_no_other_picture(web: Web, tmp_path: Path) -> None:
    stage = begin(str(tmp_path / "root"), web)
    stage(0)
    for path in (tar_path(IMAGES, 0), rows_path(0), receipt_path(IMAGES, 0)):
        os.unlink(tmp_path / "root" / path)
    answer_otherwise(web)
    stage(0)
    assert outcomes(stage.dataset)["2"] == "changed since it was first seen"
    assert problems(str(tmp_path / "root")) == []


def test_a_tar_that_was_damaged_since_is_not_adopted(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    stage = begin(str(root), web)
    die_before(monkeypatch, stage, "create_bytes", rows_path(0))
    tar = root / tar_path(IMAGES, 0)
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.unlink()
    tar.write_bytes(data)
    answer_otherwise(web)
    with pytest.raises(DamagedShard, match=r"images/000000.tar has no receipt, and no attempt noted .* delete it"):
        stage(0)
    tar.unlink()
    stage(0)
    assert problems(str(root)) == []


def test_rows_of_another_attempt_are_named(web: Web, tmp_path: Path) -> None:
    root = tmp_path / "root"
    stage = begin(str(root), web)
    stage(0)
    os.unlink(root / tar_path(IMAGES, 0))
    os.unlink(root / receipt_path(IMAGES, 0))
    answer_otherwise(web)
    with pytest.raises(DamagedShard, match=r"images/000000.rows.parquet is there with other bytes .* delete it"):
        stage(0)
    os.unlink(root / rows_path(0))
    stage(0)
    assert problems(str(root)) == []


def test_two_attempts_at_once_hold_to_the_pictures_first_seen(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")
    stage, other = begin(root, web), begin(root, web)
    real = attempts.write_seen

    def slow(*args: Any) -> bool:
        monkeypatch.setattr("t2i_shards.pipeline.stages.ingest.write_seen", real)
        answer_otherwise(web)
        put_picture(Path(web.folder), "a-0", 0)
        die_before(monkeypatch, other, "create", tar_path(IMAGES, 0))
        put_picture(Path(web.folder), "b-2", 2)
        return real(*args)

    monkeypatch.setattr("t2i_shards.pipeline.stages.ingest.write_seen", slow)
    stage(0)
    # The other attempt recorded first what it saw, so its b-2 counts although it wrote no tar.
    assert outcomes(stage.dataset) == {
        "0": "ok",
        "1": "ok",
        "2": "changed since it was first seen",
        "3": "ok",
    }
    assert problems(root) == []


def test_drafts_go_when_their_shard_is_done(root: str, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = begin(root, web)
    store = stage.dataset.store
    die_before(monkeypatch, stage, "create_bytes", receipt_path(IMAGES, 0))
    drafts = store.names("drafts")
    assert len(drafts) == 1
    sweep_drafts(store, stage.dataset.done(IMAGES))
    assert store.names("drafts") == drafts, "a draft that may still be needed was removed"
    made = stage(0)
    sweep_drafts(store, stage.dataset.done(IMAGES))
    assert store.names("drafts") == []
    store.discard(draft_path(0, made.receipts[IMAGES].sha256))
