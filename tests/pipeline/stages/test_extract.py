"""Extract: a column for each condition, in the order of the pictures, one pass for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError, ShardNotReady
from t2i_shards.pipeline.image.stored import decode_rgb, encode_jpeg
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages import batch_pictures, combine, plan_extract
from tests.faults.toys import Pictures, Toy, extract_here, make_images, problems

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(10, cursed=(4,)), 4)


def test_a_map_for_each_picture_in_their_order(dataset: Dataset) -> None:
    extract_here(dataset)
    for shard in dataset.shards:
        pictures, maps = dataset.load(IMAGES, shard), dataset.load("toy", shard)
        assert [s.key for s in maps] == [s.key for s in pictures]
        for picture, condition_map in zip(pictures, maps, strict=True):
            expected = decode_rgb(picture.members["jpg"])[:, :, 1]
            assert np.array_equal(Toy.format.decode(condition_map.members), expected)  # type: ignore[arg-type]
    assert problems(dataset.store.root) == []


def test_its_receipt_names_its_input(dataset: Dataset) -> None:
    stage = extract_here(dataset)
    images = dataset.receipts(IMAGES)
    for shard, receipt in dataset.receipts("toy").items():
        assert receipt.input == images[shard].sha256
        assert receipt.planned == receipt.samples == images[shard].samples
        assert receipt.keys == images[shard].keys
        assert receipt.recipe == stage.conditions[0].recipe == dataset.recipe_digest("toy")


def test_webdataset_alone_reads_it(dataset: Dataset) -> None:
    extract_here(dataset)
    tars = [str(p) for p in sorted(Path(dataset.store.root, "toy").glob("*.tar"))]
    found = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("pil"))
    assert [s["__key__"] for s in found] == [f"k{i:05d}" for i in range(10)]
    assert found[0]["toy.png"].size == (64, 64)


def test_a_sample_that_fails_is_dropped_and_its_neighbours_are_not(dataset: Dataset) -> None:
    for batch in (1, 3, 8):
        column = f"toy{batch}"
        stage = plan_extract(dataset, ["toy"], variant="raises", column=column, batch=batch)
        stage.setup()
        made = stage(1)
        assert made.errors == (f"{column}: k00004: ValueError: this picture is cursed",)
        receipt = made.receipts[column]
        assert (receipt.planned, receipt.samples) == (4, 3)
        assert receipt.drops == {"failed (ValueError)": 1}
        assert receipt.dropped == {"k00004": "failed (ValueError)"}
        assert [s.key for s in dataset.load(column, 1)] == ["k00005", "k00006", "k00007"]


def test_a_condition_that_always_fails_does_not_pass_for_done(dataset: Dataset) -> None:
    stage = plan_extract(dataset, ["toy", "broken"])
    stage.setup()
    with pytest.raises(IncompleteError, match="every sample of the shard failed; the first: k00000: ValueError"):
        stage(0)
    assert dataset.done("broken") == set()


def files_of(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Of the toy column: which file it is, and when it was written."""
    found = ((path.name, path.stat()) for path in Path(dataset.store.root, "toy").iterdir())
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found}


def test_only_what_is_missing_is_made(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    extract_here(dataset)
    before = files_of(dataset)
    Path(dataset.store.root, "toy", "000001.json").unlink()
    calls: list[int] = []
    real = Toy.__call__

    def count(toy: Toy, pictures: np.ndarray) -> list[np.ndarray]:
        calls.append(len(pictures))
        return real(toy, pictures)

    monkeypatch.setattr(Toy, "__call__", count)
    extract_here(dataset)
    assert sum(calls) == 4
    after = files_of(dataset)
    assert {n: s for n, s in after.items() if n != "000001.json"} == {
        n: s for n, s in before.items() if n != "000001.json"
    }


def test_pictures_that_are_not_there_or_damaged_are_not_used(dataset: Dataset) -> None:
    stage = plan_extract(dataset, ["toy"])
    stage.setup()
    Path(dataset.store.root, "images", "000001.json").unlink()
    with pytest.raises(ShardNotReady):
        stage(1)
    path = Path(dataset.store.root, "images", "000000.tar")
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(DamagedShard, match=r"images/000000\.tar: must have sha256"):
        stage(0)
    assert dataset.done("toy") == set()


def test_another_recipe_is_refused_and_may_be_another_column(dataset: Dataset) -> None:
    extract_here(dataset)
    with pytest.raises(RequestError, match=r"^toy was made with recipe [0-9a-f]{8}…, this one is .*--as$"):
        plan_extract(dataset, ["toy"], variant="slow")
    extract_here(dataset, "slow", column="toy-slow")
    assert dataset.columns() == [IMAGES, "toy", "toy-slow"]


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["skech"], {}, "'skech'"),
        (["toy", "skech"], {}, "'skech'"),
        (["toy"], {"variant": "tiny"}, "'tiny'"),
        (["toy", "broken"], {"column": "x"}, "must name one condition, not 2"),
        (["toy"], {"column": "images"}, "not 'images'"),
        (["toy"], {"batch": 0}, "--batch must be at least 1, not 0"),
    ],
)
def test_a_wrong_request_begins_nothing(
    names: list[str], options: dict[str, Any], said: str, dataset: Dataset
) -> None:
    with pytest.raises(RequestError) as caught:
        plan_extract(dataset, names, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert dataset.columns() == [IMAGES]


def test_a_condition_named_twice_is_made_once(dataset: Dataset) -> None:
    assert len(plan_extract(dataset, ["toy", "toy"]).conditions) == 1


def test_batches_hold_pictures_of_one_size() -> None:
    sizes = [(64, 64), (64, 128), (64, 64), (64, 64), (64, 128), (128, 64), (64, 64)]
    samples = [
        Sample(f"k{i}", {"jpg": encode_jpeg(np.full((*s, 3), 9 * i, np.uint8), 95)}) for i, s in enumerate(sizes)
    ]
    for limit in (1, 2, 3, 100):
        found: dict[str, np.ndarray] = {}
        for keys, pictures in batch_pictures(samples, limit):
            assert isinstance(pictures, np.ndarray)
            assert 1 <= len(keys) == len(pictures) <= limit
            found |= dict(zip(keys, pictures, strict=True))
        assert sorted(found) == [f"k{i}" for i in range(len(sizes))]
        for i, size in enumerate(sizes):
            assert found[f"k{i}"].shape == (*size, 3)
            assert abs(int(found[f"k{i}"][0, 0, 0]) - 9 * i) <= 1


def test_extractors_take_turns_on_one_worker() -> None:
    declared = [Resources(1, 0.25, 100), Resources(2, 0.5, 50)]
    assert combine(declared, "cpu") == Resources(2, 0.0, 150)
    assert combine(declared, "cuda") == Resources(2, 0.75, 150)
    assert combine(declared * 3, "cuda").gpus == 1.0


def test_it_works_on_s3(bucket: str, dataset: Dataset) -> None:
    there = make_images(f"{bucket}/root", Pictures(10, cursed=(4,)), 4)
    extract_here(there, "raises")
    extract_here(dataset, "raises")
    for shard in dataset.shards:
        path = f"toy/{shard:06d}.tar"
        assert bytes(there.store.load(path)) == bytes(dataset.store.load(path))
    assert problems(f"{bucket}/root") == []
