"""Splits: their order changes nothing, and none is given a name that its readers take for something else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import datasets
import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish.readers import LOCAL
from tests.pipeline.publish.before import ASKED, unpack_before
from tests.pipeline.publish.toys import contents, keys_of, publish_here, toy_dataset

SPLITS = ("train=0.5", "val=0.2", "test=0.2", "extra=0.1")


def test_the_order_of_the_splits_changes_nothing(tmp_path: Path) -> None:
    dataset, to = toy_dataset(tmp_path / "root", color=False), tmp_path / "to"
    publish_here(dataset, to, splits=SPLITS, shard_size=4)
    before = contents(to)
    assert json.loads(before["publish.json"])["splits"] == [
        ["train", 0.5],
        ["val", 0.2],
        ["test", 0.2],
        ["extra", 0.1],
    ]
    publish_here(dataset, tmp_path / "other", splits=SPLITS[::-1], shard_size=4)
    assert contents(tmp_path / "other") == before
    gone = {split: keys_of(to, split)[0] for split in ("train", "val", "test")}
    remove(dataset, "keys", gone.values())
    asked = {"splits": (*SPLITS[2:], *SPLITS[:2]), "shard_size": 4}
    assert publish_here(dataset, to, purge=True, **asked).made == 3
    assert publish_here(dataset, to, splits=SPLITS, shard_size=4).finished is None
    keys = [key for split in ("train", "val", "test", "extra") for key in keys_of(to, split)]
    assert sorted(keys) == sorted({f"k{i:05d}" for i in range(30)} - set(gone.values()))


def test_other_shares_are_another_publication(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", color=False)
    publish_here(dataset, tmp_path / "to", splits=("train=0.5", "test=0.5"))
    with pytest.raises(RequestError, match=r"was published with splits .*; ask for the same, or use another --to"):
        publish_here(dataset, tmp_path / "to", splits=("train=0.6", "test=0.4"))


@pytest.mark.parametrize("left", ["whole", "begun", "with one shard"])
def test_what_an_earlier_version_published_keeps_its_order(tmp_path: Path, left: str) -> None:
    """Its claim does not record the order, so the published shards decide it; before there are any, any order will
    do."""
    unpack_before(tmp_path)
    dataset, to = Dataset.open(str(tmp_path / "root")), tmp_path / "packed"
    whole = contents(to)
    kept = {"whole": "", "begun": "publish.json", "with one shard": "test-000001"}[left]
    for name in whole:
        if kept not in name and name != "publish.json":
            (to / name).unlink()
    given: dict[str, Any] = {**ASKED, "purge": True}
    other = {**given, "splits": given["splits"][::-1]}
    if left == "begun":
        given, other = other, given
        publish_here(dataset, to, **given)
        assert keys_of(to, "test")
    remove(dataset, "keys", [f"{1:09d}"])
    before = contents(to)
    order = " ".join(other["splits"])
    with pytest.raises(RequestError, match=f"--splits in another order than {order}; give them in the order of"):
        publish_here(dataset, to, **other)
    assert contents(to) == before
    publish_here(dataset, to, **given)
    assert contents(to)["publish.json"] == whole["publish.json"]
    assert publish_here(dataset, to, **given).finished is None
    assert sorted([*keys_of(to), *keys_of(to, "test")]) == [f"{i:09d}" for i in (0, *range(3, 12))]


@pytest.mark.parametrize("name", ["all", "no", "null", "on", "y"])
def test_a_split_that_others_take_for_something_else(tmp_path: Path, name: str) -> None:
    dataset = toy_dataset(tmp_path / "root", 4, 4, color=False)
    with pytest.raises(RequestError, match=f"--splits must be names other than .*, not '{name}'; nothing was"):
        publish_here(dataset, tmp_path / "to", splits=(f"{name}=1",))
    assert not contents(tmp_path / "to")


def test_such_a_split_of_an_earlier_version_is_purged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card quotes its name."""
    dataset, to = toy_dataset(tmp_path / "root", color=False), tmp_path / "to"
    asked = {"splits": ("all=0.5", "no=0.5"), "readers": LOCAL}
    with monkeypatch.context() as patch:
        patch.setattr("t2i_shards.pipeline.publish.config.TAKEN", frozenset())
        publish_here(dataset, to, **asked)
    gone = keys_of(to, "no")[0]
    remove(dataset, "keys", [gone])
    assert publish_here(dataset, to, purge=True, **asked).made == 1
    assert gone not in keys_of(to, "no")


def test_val_is_a_split_of_this_name_to_its_readers(tmp_path: Path) -> None:
    """Next to validation too, which `datasets` would take for the same split by the names of the files alone."""
    dataset, to = toy_dataset(tmp_path / "root", color=False), tmp_path / "to"
    publish_here(dataset, to, readers=LOCAL, splits=("train=0.4", "val=0.3", "validation=0.3"))
    for split in ("val", "validation"):
        with tempfile.TemporaryDirectory(dir=tmp_path) as cache:
            loaded = datasets.load_dataset(str(to), split=split, streaming=True, cache_dir=cache)
            assert [sample["__key__"] for sample in loaded] == keys_of(to, split)
    parts = json.loads((to / ".nv-meta/split.yaml").read_text())["split_parts"]
    assert parts.keys() == {"train", "val", "validation"}
