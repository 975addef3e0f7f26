"""Columns that are zipped: one key of all of them, or a line that says what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.aligned import Aligned, open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.store import FolderStore
from t2i_shards.pipeline.stream import open_stream


def rewrite(root: Path, column: str, shard: int, samples: list[Sample], **changes: object) -> Receipt:
    """Put other samples under a receipt that vouches for them, as a wrong extractor might have."""
    paths = [root / column / f"{shard:06d}.{end}" for end in ("json", "tar")]
    old = Receipt.decode(paths[0].read_bytes(), "")
    for path in paths:
        path.unlink()
    receipt = commit_samples(
        Dataset.open(str(root)).store,
        samples,
        column=column,
        shard=shard,
        planned=len(samples),
        recipe=old.recipe,
        input_digest=old.input,
    )
    if changes:
        receipt = replace(receipt, **changes)  # type: ignore[arg-type]
        paths[0].unlink()
        paths[0].write_bytes(receipt.encode())
    return receipt


def test_a_column_made_from_other_pictures_is_refused(small: Path) -> None:
    dataset = Dataset.open(str(small))
    rewrite(small, "images", 1, dataset.load(IMAGES, 1)[::-1])
    with pytest.raises(
        DamagedShard, match=r"toy/000001 was made from an images shard with sha256 .*, but images/000001 has"
    ):
        open_stream(str(small), ["toy"])
    assert len(open_stream(str(small), [])) == 6


def test_a_shard_of_another_recipe_is_refused(small: Path) -> None:
    rewrite(small, "toy", 0, Dataset.open(str(small)).load("toy", 0), recipe="another")
    with pytest.raises(DamagedShard, match="toy/000000 was made with another recipe than its column's"):
        open_stream(str(small), ["toy"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: [*s, Sample("zzz", s[0].members)], "the key zzz is foreign: images has none such"),
        (lambda s: [*s[:1], Sample("zzz", s[0].members), *s[2:]], "the key zzz is foreign: images has none such"),
        (lambda s: [s[0], s[2]], "the key k00004 is missing"),
        (lambda s: [s[1], s[0], s[2]], "the key k00004 is out of the order of images"),
        (lambda s: [s[0], s[1], s[2], s[1]], "the key k00004 is there twice"),
        (lambda s: [], "the key k00003 is missing"),
    ],
)
def test_foreign_missing_and_reordered_keys_are_named(change: object, said: str, small: Path) -> None:
    dataset = Dataset.open(str(small))
    other = dataset.load("toy", 1)
    rewrite(small, "toy", 1, change(other))  # type: ignore[operator]
    stream = open_stream(str(small), ["toy"])
    handed_out = []
    with pytest.raises(DamagedShard) as caught:
        handed_out += [sample.key for sample in stream.samples(0)]
    assert str(caught.value).startswith("toy/000001: ")
    assert said in str(caught.value)
    assert not set(handed_out) & {"k00003", "k00004", "k00005"}


def receipt(column: str, names: list[str], dropped: dict[str, str] | None = None) -> Receipt:
    return Receipt(column, 0, len(names), len(names), 0, "", digest_keys(names), "", "", dropped=dropped or {})


def align(columns: Mapping[str, Sequence[Sample]], receipts: Mapping[str, Receipt]) -> Aligned[Sample]:
    return open_aligned(
        FolderStore(Path("unused")), 0, columns, lambda _, receipt: columns[receipt.column], receipts
    )


def test_a_key_that_one_column_dropped_is_left_out_of_all() -> None:
    names = ["a", "b", "c"]
    columns = {
        IMAGES: [Sample(n, {"jpg": b"1"}) for n in names],
        "one": [Sample(n, {"one.png": b"2"}) for n in "bc"],
        "two": [Sample(n, {"two.png": b"3"}) for n in "ab"],
    }
    receipts = {
        IMAGES: receipt(IMAGES, names),
        "one": receipt("one", ["b", "c"], {"a": "failed"}),
        "two": receipt("two", ["a", "b"], {"c": "failed"}),
    }
    found = align(columns, receipts)
    assert found.zip() == {"b": {"jpg": b"1", "one.png": b"2", "two.png": b"3"}}
    found = align(columns | {"one": columns["two"]}, receipts)
    assert found.samples.keys() == {IMAGES, "two"}
    with pytest.raises(DamagedShard, match="one/000000: the key a is foreign"):
        found.zip()


def test_two_columns_with_the_same_member_are_refused() -> None:
    columns = {n: [Sample("a", {m: b"1"})] for n, m in ((IMAGES, "jpg"), ("one", "x.png"), ("two", "x.png"))}
    with pytest.raises(RequestError, match=r"two of the columns images, one, two hold x\.png"):
        align(columns, {n: receipt(n, ["a"]) for n in columns}).zip()
