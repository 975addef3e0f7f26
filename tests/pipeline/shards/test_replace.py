"""A tar that is put in another's place: whole at every moment, finished after any death, and refused otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import commit_samples, load_receipt
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.replace import find_notes, load_current, note_path, replace_shard
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store, open_store

CALLS = ("create_bytes", "replace", "replace_bytes", "discard_all")


class Killed(BaseException):
    """Ends an attempt as SIGKILL would, between two calls of its store."""


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path if request.param == "folder" else request.getfixturevalue("bucket"))


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"k{i}", {"txt": text.encode()}) for i, text in enumerate(texts)]


def texts(store: Store) -> list[str]:
    receipt = load_receipt(store, "images", 0)
    assert receipt is not None
    return [bytes(sample.members["txt"]).decode() for sample in load_verified(store, receipt)]


def make(store: Store) -> Receipt:
    return commit_samples(store, samples("a", "b"), column="images", shard=0, planned=2, recipe="r")


def test_the_new_receipt_names_the_first_tar_and_all_that_was_erased(store: Store) -> None:
    first = make(store)
    second = replace_shard(store, first, samples("a", ""), ["k1"])
    third = replace_shard(store, second, samples("", ""), ["k0"])
    assert load_receipt(store, "images", 0) == third
    assert (first.identity, second.identity, third.identity) == (first.sha256,) * 3
    assert (second.erased, third.erased) == (("k1",), ("k0", "k1"))
    assert (third.keys, third.samples) == (first.keys, first.samples)
    assert texts(store) == ["", ""]
    assert store.names("drafts") == []


def die_at(store: Any, fatal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the call of this number that changes the store."""
    count = iter(range(100))

    def watch(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            if next(count) == fatal:
                raise Killed
            return real(*given)

        return call

    for name in CALLS:
        monkeypatch.setattr(store, name, watch(getattr(store, name)))


@pytest.mark.parametrize("fatal", range(4))
def test_a_death_at_any_step_leaves_a_shard_that_is_finished_or_as_it_was(
    tmp_path: Path, fatal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    first = make(store)
    with monkeypatch.context() as patch:
        # A folder's replace_bytes is a replace of its own, which is one step.
        patch.setattr(store, "replace_bytes", lambda path, data: _overwrite(tmp_path / path, data))
        die_at(store, fatal, patch)
        with pytest.raises(Killed):
            replace_shard(store, first, samples("a", ""), ["k1"])
    receipt = load_receipt(store, "images", 0)
    assert receipt is not None, "no other command may take the shard for one that is to be made"
    now, held = load_current(store, receipt)
    replaced = fatal >= 2
    assert [bytes(sample.members["txt"]) for sample in held] == ([b"a", b""] if replaced else [b"a", b"b"])
    assert now.erased == (("k1",) if replaced else ())
    assert load_receipt(store, "images", 0) == now
    assert replace_shard(store, now, samples("a", ""), ["k1"]).first == first.sha256
    assert texts(store) == ["a", ""]


def _overwrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def test_other_keys_and_damage_are_refused(store: Store) -> None:
    first = make(store)
    with pytest.raises(OSError, match="must have the keys that it had"):
        replace_shard(store, first, samples("a"), ["k1"])
    store.replace_bytes("images/000000.tar", b"damaged")
    store.create_bytes(note_path("images", 0, "0" * 64), first.encode())
    with pytest.raises(DamagedShard, match=r"images/000000.tar: must have"):
        load_current(store, first)


def test_the_note_of_another_shard_does_not_vouch_for_a_tar(store: Store) -> None:
    """What replaced one tar under this name says nothing of a receipt that is of another."""
    first = make(store)
    second = replace_shard(store, first, samples("a", ""), ["k1"])
    store.create_bytes(note_path("images", 0, second.sha256), second.encode())
    other = commit_samples(store, samples("c", "d"), column="other", shard=0, planned=2, recipe="r")
    with pytest.raises(DamagedShard, match="must have 3072 bytes, has 2560"):
        load_current(store, Receipt(**{**vars(other), "column": "images"}))


def test_notes_are_those_of_the_column_and_the_shard(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    for column, shard in (("sketch", 1), ("sketch", 2), ("sketch-fine", 1)):
        store.create_bytes(note_path(column, shard, "0" * 64), b"")
    assert find_notes(store, "sketch-fine") == [note_path("sketch-fine", 1, "0" * 64)]
    assert find_notes(store, "sketch", 2) == [note_path("sketch", 2, "0" * 64)]
    assert len(find_notes(store, "sketch")) == 2
