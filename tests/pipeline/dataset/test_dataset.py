"""A dataset: planned once, opened by the same options and refused by others; what is done and what is left."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.create import create_dataset
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left_out import read_left_out
from t2i_shards.pipeline.errors import DamagedShard, RequestError, ShardNotReady
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.sources.row import Row
from tests.faults.toys import Pictures, make_images

SOURCE = {"kind": "test", "count": 7, "seed": 1}
GEOMETRY = {"size": 64, "fit": "aspect"}


def rows(count: int = 7, caption: str = "a") -> list[Row]:
    return [Row(f"k{i}", f"at {i}", (caption,)) for i in range(count)]


def create(store: Store, **changes: Any) -> Dataset:
    options: dict[str, Any] = {"rows": rows(), "shard_size": 3, "source": SOURCE, "geometry": GEOMETRY}
    options |= changes
    given = options.pop("rows")
    return create_dataset(store, given if callable(given) else lambda _: given, **options)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.getfixturevalue("bucket") if request.param == "s3" else str(tmp_path / "root"))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


def test_a_plan_comes_back_row_by_row(store: Store) -> None:
    dataset = create(store)
    assert list(dataset.shards) == [0, 1, 2]
    assert [row for shard in dataset.shards for row in dataset.plan(shard)] == rows()
    assert [len(dataset.plan(shard)) for shard in dataset.shards] == [3, 3, 1]
    assert Dataset.open(store.root).description == dataset.description
    assert (dataset.description.shards, dataset.description.samples) == (3, 7)


def test_the_same_options_open_it_and_draw_no_row(store: Store) -> None:
    first = create(store)

    def forbidden(left_out: Any) -> Any:
        raise AssertionError("the rows were drawn again")

    assert create(store, rows=forbidden).description == first.description


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": SOURCE | {"seed": 2}}, "seed 1, this asks for 2"),
        ({"source": SOURCE | {"more": True}}, "more None, this asks for True"),
        ({"source": {"kind": "other"}}, "count 7, this asks for None"),
        ({"geometry": GEOMETRY | {"size": 128}}, "size 64, this asks for 128"),
        ({"geometry": GEOMETRY | {"fit": "square"}}, "fit 'aspect', this asks for 'square'"),
        ({"shard_size": 4}, "shard_size 3, this asks for 4"),
    ],
)
def test_a_changed_option_is_refused_by_name_and_value(changes: dict[str, Any], said: str, folder: Store) -> None:
    create(folder)
    before = folder.load("dataset.json")
    with pytest.raises(RequestError) as caught:
        create(folder, **changes)
    assert str(caught.value) == f"{folder.root} was made with {said}; use another --out"
    assert folder.load("dataset.json") == before


def test_an_interrupted_plan_is_completed(folder: Store, tmp_path: Path) -> None:
    whole = create(open_store(str(tmp_path / "whole")))

    def killed() -> Any:
        yield from rows()[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(folder, rows=killed())
    assert folder.names("plan") == ["000000.parquet"]
    assert "dataset.json" not in folder.names("")
    assert create(folder).description == whole.description


def test_a_plan_of_other_rows_is_refused(folder: Store) -> None:
    with pytest.raises(RequestError, match="key"):
        create(folder, rows=[*rows()[:3], Row("not a key", "")])
    with pytest.raises(RequestError, match=r"plan/000000\.parquet was planned from other rows or options"):
        create(folder, rows=rows(caption="b"))


@pytest.mark.parametrize("key", ["k0", "k6", "", "a.b", "a b", "é", "a/b"])
def test_a_key_that_is_none_or_not_unique_is_refused(key: str, folder: Store) -> None:
    wrong = [*rows(), replace(rows(1)[0], key=key)]
    with pytest.raises(RequestError) as caught:
        create(folder, rows=wrong)
    assert str(caught.value).endswith(f"not {key!r}")
    assert "dataset.json" not in folder.names("")


def test_a_source_without_pictures_is_refused(folder: Store) -> None:
    with pytest.raises(RequestError, match="no pictures"):
        create(folder, rows=[])


def test_what_was_left_out_on_purpose_is_counted(store: Store) -> None:
    def choosy(left_out: Counter[str]) -> Any:
        for row in rows():
            if row.key in ("k1", "k4", "k5"):
                left_out["dull" if row.key == "k1" else "loud"] += 1
            else:
                yield row

    dataset = create(store, rows=choosy)
    assert dataset.description.samples == 4
    assert read_left_out(dataset.store) == {"dull": 1, "loud": 2}
    assert read_left_out(Dataset.open(store.root).store) == {"dull": 1, "loud": 2}


def test_a_source_that_leaves_everything_out_is_refused_with_the_reasons(folder: Store) -> None:
    def nobody(left_out: Counter[str]) -> Any:
        left_out.update({"dull": 2, "loud": 3})
        return []

    with pytest.raises(RequestError, match=r"the source has no pictures left \(loud 3, dull 2\)"):
        create(folder, rows=nobody)
    assert folder.names("") == []


def test_the_recipe_of_images_is_of_all_that_decides_them(folder: Store, tmp_path: Path) -> None:
    recipes = {create(folder).description.recipe}
    changed: list[dict[str, Any]] = [
        {"source": SOURCE | {"seed": 2}},
        {"geometry": GEOMETRY | {"size": 128}},
        {"rows": rows(caption="b")},
    ]
    for i, change in enumerate(changed):
        recipes.add(create(open_store(str(tmp_path / str(i))), **change).description.recipe)
    assert len(recipes) == 4


def test_a_column_is_claimed_by_its_recipe(store: Store) -> None:
    dataset = create(store)
    recipe = {"extractor": "e", "weights": None}
    digest = dataset.claim("sketch", recipe)
    assert dataset.claim("sketch", dict(reversed(recipe.items()))) == digest
    assert dataset.recipe_digest("sketch") == digest
    assert dataset.recipe("sketch") == recipe
    with pytest.raises(RequestError) as caught:
        dataset.claim("sketch", {"extractor": "f"})
    other = dataset.claim("sketch-f", {"extractor": "f"})
    assert str(caught.value) == (
        f"sketch was made with recipe {digest[:8]}…, this one is {other[:8]}…; "
        "write it as another column with --as"
    )
    assert dataset.columns() == [IMAGES, "sketch", "sketch-f"]


@pytest.mark.parametrize("name", ["images", "plan", "", "Sketch", "a.b", "a/b", "../a", "-a", ".scratch"])
def test_a_column_must_have_a_good_name(name: str, folder: Store) -> None:
    with pytest.raises(RequestError, match="a column's name must be") as caught:
        create(folder).claim(name, {})
    assert repr(name) in str(caught.value)


def test_what_is_no_column(folder: Store, tmp_path: Path) -> None:
    """A report in the dataset's folder, and a folder left by a crash before its column was begun."""
    dataset = create(folder)
    (tmp_path / "root" / "report").mkdir()
    (tmp_path / "root" / "notes").write_text("mine")
    dataset.claim("sketch", {})
    assert dataset.columns() == [IMAGES, "sketch"]
    with pytest.raises(RequestError, match="has no column 'report'; it has images, sketch"):
        dataset.recipe_digest("report")


def fill(dataset: Dataset, column: str, shards: list[int]) -> None:
    for shard in shards:
        commit_samples(
            dataset.store, [Sample("k", {"x": b"1"})], column=column, shard=shard, planned=1, recipe="r"
        )


def test_what_is_left(store: Store) -> None:
    dataset = create(store)
    assert dataset.left([IMAGES]) == [0, 1, 2]
    fill(dataset, IMAGES, [1])
    store.create_bytes("images/000002.tar", b"a tar is no sign")
    store.create_bytes("images/000000.rows.parquet", b"nor is this")
    assert dataset.done(IMAGES) == {1}
    assert dataset.left([IMAGES]) == [0, 2]
    fill(dataset, "sketch", [0, 1])
    assert dataset.left(["sketch"]) == [2]
    assert dataset.left([IMAGES, "sketch"]) == [0, 2]
    assert sorted(dataset.receipts("sketch")) == [0, 1]


@pytest.mark.soak
def test_what_is_left_of_ten_thousand_shards(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    dataset = create(store, rows=rows(1))
    record = json.loads(bytes(store.load("dataset.json"))) | {"shards": 10_000}
    (tmp_path / "root" / "dataset.json").unlink()
    store.create_bytes("dataset.json", json.dumps(record).encode())
    dataset = Dataset.open(store.root)
    (tmp_path / "root" / "sketch").mkdir()
    missing = {0, 17, 4_999, 9_998}
    for shard in range(10_000):
        (tmp_path / "root" / "sketch" / f"{shard_name(shard)}.tar").touch()
        if shard not in missing:
            (tmp_path / "root" / "sketch" / f"{shard_name(shard)}.json").touch()
    (tmp_path / "root" / "sketch" / "column.json").touch()
    assert dataset.left(["sketch"]) == sorted(missing)


def test_samples_are_given_only_with_a_receipt(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(5), 3)
    assert [s.key for s in dataset.load(IMAGES, 0)] == ["k00000", "k00001", "k00002"]
    assert set(dataset.load(IMAGES, 1)[0].members) == {"jpg", "txt", "json"}
    (tmp_path / "root" / "images" / "000001.json").unlink()
    with pytest.raises(ShardNotReady, match="images/000001 has no receipt yet"):
        dataset.load(IMAGES, 1)
    (tmp_path / "root" / "images" / "000000.tar").unlink()
    with pytest.raises(DamagedShard, match=r"images/000000\.tar: has a receipt, but the file is gone"):
        dataset.load(IMAGES, 0)


def test_ten_receipts_are_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = create(open_store(str(tmp_path / "root")), rows=rows(10), shard_size=1)
    fill(dataset, IMAGES, list(range(10)))
    together, most = set[int](), list[int]()
    real = dataset.store.load

    def slow(path: str) -> memoryview:
        together.add(id(path))
        most.append(len(together))
        time.sleep(0.05)
        together.discard(id(path))
        return real(path)

    monkeypatch.setattr(dataset.store, "load", slow)
    assert sorted(dataset.receipts(IMAGES)) == list(range(10))
    assert max(most) > 1
