"""The stream: an order that is a pure function of seed and epoch, and columns that are zipped strictly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.commit import publish
from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import DamagedShard, RequestError
from pipeline.receipt import Receipt, to_json
from pipeline.sample import Sample, digest_keys
from pipeline.stream import BLOCK_SHARDS, Stream, open_stream, permute, zip_columns
from tests.faults.toys import Pictures, extract_here, make_images

SHARDS, SHARD_SIZE = 23, 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 shards of 3, pictures and toy; two samples have no map."""
    root = tmp_path_factory.mktemp("stream") / "root"
    dataset = make_images(root, Pictures(SHARDS * SHARD_SIZE, cursed=(4, 50)), SHARD_SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extractors.registry.EXTRACTORS", {"toy": {"raises": "tests.faults.toys:Toy"}})
        extract_here(dataset, "raises")
    return root


def keys(stream: Stream, epoch: int, start: int = 0) -> list[str]:
    return [sample.key for sample in stream.samples(epoch, start)]


def test_every_sample_once_with_the_members_of_all_columns(root: Path) -> None:
    stream = open_stream(str(root), ["toy"])
    dataset = Dataset.open(str(root))
    for epoch in (0, 1):
        found = {sample.key: sample.members for sample in stream.samples(epoch)}
        assert len(found) == len(keys(stream, epoch)) == len(stream) == SHARDS * SHARD_SIZE - 2
        for shard in dataset.shards:
            maps = {s.key: s for s in dataset.load("toy", shard)}
            for sample in dataset.load(IMAGES, shard):
                if sample.key not in ("k00004", "k00050"):
                    assert found[sample.key] == {**sample.members, **maps[sample.key].members}
                else:
                    assert sample.key not in found


def test_images_alone_have_all_samples(root: Path) -> None:
    stream = open_stream(str(root), [])
    assert sorted(keys(stream, 0)) == [f"k{i:05d}" for i in range(SHARDS * SHARD_SIZE)]
    assert len(stream) == SHARDS * SHARD_SIZE


def test_the_order_is_a_function_of_seed_and_epoch(root: Path) -> None:
    orders = {(s, e): tuple(keys(open_stream(str(root), ["toy"], s), e)) for s in (0, 1) for e in (0, 1, 2)}
    assert len(set(orders.values())) == 6
    assert len({tuple(sorted(order)) for order in orders.values()}) == 1
    stream = open_stream(str(root), ["toy"], seed=1)
    # Whatever was asked before.
    assert [tuple(keys(stream, e)) for e in (2, 0, 2)] == [orders[1, 2], orders[1, 0], orders[1, 2]]


def test_the_order_will_not_change_with_a_release() -> None:
    """Golden: whoever goes on with a training months later must get the rest of the same epoch."""
    assert permute(8, 0, 0).tolist() == GOLDEN[0]
    assert permute(8, 7, 3, 1).tolist() == GOLDEN[1]
    assert sorted(permute(1000, 5).tolist()) == list(range(1000))
    assert permute(0, 1).tolist() == []


GOLDEN = ([3, 2, 1, 6, 0, 7, 4, 5], [1, 6, 5, 0, 7, 2, 3, 4])


@pytest.mark.parametrize("start", [0, 1, 2, 10, 29, 30, 31, 40, 60, 66, 67, 500])
def test_starting_at_k_is_skipping_k(start: int, root: Path) -> None:
    stream = open_stream(str(root), ["toy"], seed=3)
    assert keys(stream, 4, start) == keys(stream, 4)[start:]


def test_starting_later_opens_no_shard_that_is_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_stream(str(root), ["toy"], seed=3)
    block_of: dict[int, int] = {}
    for number, block in enumerate(stream.blocks(0)):
        block_of |= dict.fromkeys((shard for shard, _ in block), number)
    opened: list[int] = []
    real = Stream._open

    def note(stream: Stream, shard: int) -> list[Sample]:
        opened.append(shard)
        return real(stream, shard)

    monkeypatch.setattr(Stream, "_open", note)
    assert len(keys(stream, 0, start=len(stream) - 4)) == 4
    assert {block_of[shard] for shard in opened} == {2}
    assert max(Counter(opened).values()) == 1


def test_a_block_is_ten_shards_and_all_of_them(root: Path) -> None:
    stream = open_stream(str(root), ["toy"], seed=3)
    blocks = [{shard for shard, _ in block} for block in stream.blocks(0)]
    assert [len(block) for block in blocks] == [BLOCK_SHARDS, BLOCK_SHARDS, 3]
    assert set.union(*blocks) == set(range(SHARDS))
    assert blocks != [{s for s, _ in b} for b in stream.blocks(1)]
    # Mixed: not one shard after the other.
    first = [shard for shard, _ in next(stream.blocks(0))]
    assert sum(a != b for a, b in pairwise(first)) > len(first) / 2
    assert len(list(Dataset.open(str(root)).shards)) == SHARDS


def test_its_digest_is_of_what_it_hands_out(root: Path) -> None:
    both = open_stream(str(root), ["toy"])
    assert both.digest == open_stream(str(root), ["toy"], seed=9).digest
    assert both.digest != open_stream(str(root), []).digest


def test_columns_that_are_not_there_or_not_whole_are_refused(tmp_path: Path, toy: str) -> None:
    dataset = make_images(tmp_path / "root", Pictures(6), 2)
    with pytest.raises(RequestError, match="has no column 'toy'; it has images"):
        open_stream(dataset.store.root, ["toy"])
    extract_here(dataset)
    (tmp_path / "root" / "toy" / "000001.json").unlink()
    with pytest.raises(
        RequestError, match="toy lacks 1 of 3 shards, the first 000001; run extract again to go on"
    ):
        open_stream(dataset.store.root, ["toy"])
    (tmp_path / "root" / "images" / "000002.json").unlink()
    with pytest.raises(
        RequestError, match="images lacks 1 of 3 shards, the first 000002; run ingest again to go on"
    ):
        open_stream(dataset.store.root, [])


def rewrite(root: Path, column: str, shard: int, samples: list[Sample], **changes: object) -> Receipt:
    """Put other samples under a receipt that vouches for them, as a wrong extractor might have."""
    paths = [root / column / f"{shard:06d}.{end}" for end in ("json", "tar")]
    old = Receipt.decode(paths[0].read_bytes(), "")
    for path in paths:
        path.unlink()
    receipt = publish(
        Dataset.open(str(root)).store,
        samples,
        column=column,
        shard=shard,
        planned=len(samples),
        recipe=old.recipe,
        input=old.input,
    )
    if changes:
        receipt = replace(receipt, **changes)  # type: ignore[arg-type]
        paths[0].unlink()
        paths[0].write_bytes(receipt.encode())
    return receipt


@pytest.fixture
def small(tmp_path: Path, toy: str) -> Path:
    extract_here(make_images(tmp_path / "root", Pictures(6), 3))
    return tmp_path / "root"


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
        (lambda s: [s[0], s[1], s[2], s[1]], "the key k00004 stands there twice"),
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
    return Receipt(column, 0, len(names), len(names), 0, "", digest_keys(names), "", dropped=dropped or {})


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
    (only,) = zip_columns(columns, receipts)
    assert (only.key, only.members) == ("b", {"jpg": b"1", "one.png": b"2", "two.png": b"3"})
    with pytest.raises(DamagedShard, match="one/000000: the key a is foreign"):
        zip_columns(columns | {"one": columns["two"]}, receipts)


def test_two_columns_with_the_same_member_are_refused() -> None:
    columns = {n: [Sample("a", {m: b"1"})] for n, m in ((IMAGES, "jpg"), ("one", "x.png"), ("two", "x.png"))}
    with pytest.raises(RequestError, match=r"two of the columns images, one, two hold x\.png"):
        zip_columns(columns, {n: receipt(n, ["a"]) for n in columns})


def test_a_dataset_of_drops_alone_is_refused(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(2), 2)
    old = dataset.receipts(IMAGES)[0]
    changed = replace(old, samples=0, drops={"too small": 2})
    (tmp_path / "root" / "images" / "000000.json").unlink()
    dataset.store.create_bytes("images/000000.json", to_json(vars(changed)))
    with pytest.raises(RequestError, match="has no samples: every planned row was dropped"):
        open_stream(dataset.store.root, [])


def test_it_works_on_s3(bucket: str, tmp_path: Path, toy: str) -> None:
    for place in (f"{bucket}/root", tmp_path / "root"):
        extract_here(make_images(place, Pictures(6), 3))
    there, here = open_stream(f"{bucket}/root", ["toy"]), open_stream(str(tmp_path / "root"), ["toy"])
    assert there.digest == here.digest
    assert [(s.key, s.members) for s in there.samples(1)] == [(s.key, s.members) for s in here.samples(1)]
    assert np.array_equal(keys(there, 0, 2), keys(here, 0, 2))
