"""Duplicates are the same file, or look the same; each belongs to an earlier picture that is none itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from t2i_shards.pipeline.dataset import duplicates
from t2i_shards.pipeline.dataset.close_pairs import MOST_NEAR
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import (
    NEAR,
    choose_near,
    find_duplicates,
    mark_duplicates,
    read_duplicates,
)
from t2i_shards.pipeline.dataset.look_alikes import NEAR_256
from t2i_shards.pipeline.dataset.mark_tables import duplicates_path, read_kinds, read_marks
from t2i_shards.pipeline.dataset.supplement import plan_new
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.image.phash import hash_greys, shrink_grey
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.table import encode_table
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stream import open_stream
from tests.conftest import HERE
from tests.faults.toys import fill, make_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """0; 1 the same file; 2 the same at another size and quality; 3 its mirror image; 4 another picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    picture, other = (
        Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            (400, 300), Image.Resampling.BICUBIC
        )
        for _ in range(2)
    )
    picture.save(folder / "0.jpg", quality=95)
    (folder / "1.jpg").write_bytes((folder / "0.jpg").read_bytes())
    picture.resize((200, 150)).save(folder / "2.jpg", quality=60)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "3.jpg")
    other.save(folder / "4.jpg")
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"caption {number}")
    return folder


def ingest(folder: Path, root: Path) -> Dataset:
    return make_images(root, FolderSource(str(folder)), 2)


def test_the_table_of_a_dataset(folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    table = mark_duplicates(dataset)
    told = [(r["shard"], r["key"][-1], r["of"][-1], r["kind"]) for r in table.to_pylist()]
    assert told == [(0, "1", "0", "exact"), (1, "2", "0", "near")]
    assert table.equals(find_duplicates(dataset))
    keys = read_duplicates(dataset, dataset.receipts(IMAGES))
    assert keys == {0: {"000000001"}, 1: {"000000002"}}
    # Another state of the dataset has another table.
    receipts = dict(dataset.receipts(IMAGES))
    del receipts[2]
    assert read_duplicates(dataset, receipts) is None


def test_a_stream_leaves_duplicates_out(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    dataset = ingest(folder, tmp_path / "root")
    with pytest.raises(RequestError, match=r"the duplicates of .* are not marked; run ingest again"):
        open_stream(root, [], duplicates=False)
    mark_duplicates(dataset)
    all_of_them, without = open_stream(root, []), open_stream(root, [], duplicates=False)
    assert (len(all_of_them), len(without)) == (5, 3)
    assert sorted(s.key[-1] for s in without.samples(0)) == ["0", "3", "4"]
    assert [s.key for s in without.samples(0, 1)] == [s.key for s in without.samples(0)][1:]
    assert all_of_them.digest != without.digest


def test_the_hashes_are_of_looks_not_of_bytes() -> None:
    y, x = np.mgrid[:300, :400]
    picture = np.stack([x * 255 // 400, y * 255 // 300, (x + y) % 256], axis=2).astype(np.uint8)
    half = picture.reshape(150, 2, 200, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])

    def differ(other: np.ndarray) -> dict[str, int]:
        one, two = hash_greys([shrink_grey(picture), shrink_grey(other)])
        return {name: (int(one[name], 16) ^ int(two[name], 16)).bit_count() for name in one}

    assert differ(half)["phash"] <= NEAR
    assert differ(half)["phash256"] <= NEAR_256
    assert differ(mirrored)["phash"] > 16


def test_near_is_chosen_once(folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    table = mark_duplicates(dataset, 0)
    assert table["kind"].to_pylist() == ["exact"]
    assert mark_duplicates(dataset).equals(table)
    assert mark_duplicates(dataset, 0).equals(table)
    with pytest.raises(
        RequestError, match=r"were marked with --near 0, not 4; use the same one, or delete .*/root/dupl"
    ):
        mark_duplicates(dataset, 4)
    (path,) = (tmp_path / "root/duplicates").iterdir()
    path.unlink()
    assert mark_duplicates(dataset, 4)["kind"].to_pylist() == ["exact", "near"]


@pytest.mark.parametrize("near", [-1, MOST_NEAR + 1])
def test_near_that_is_not_allowed(near: int, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"--near must be 0 to 8 bits, not {near}"):
        choose_near(FolderStore(tmp_path), near)


def test_a_table_of_an_earlier_version_was_made_with_4(folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    mark_duplicates(dataset)
    (path,) = (tmp_path / "root/duplicates").iterdir()
    table = read_marks(dataset.store, f"duplicates/{path.name}")
    assert table is not None
    for metadata, said in ((None, "with --near 4, not 3"), ({"near": "99"}, "its `near` must be 0 to 8")):
        path.unlink()
        path.write_bytes(encode_table(table.replace_schema_metadata(metadata)))
        with pytest.raises((RequestError, DamagedShard), match=said):
            mark_duplicates(dataset, 3)


def add_pictures(folder: Path, root: Path) -> Dataset:
    """5, the file of the duplicate 2; 6, another picture; 7, which looks like 4."""
    (folder / "5.jpg").write_bytes((folder / "2.jpg").read_bytes())
    Image.open(folder / "0.jpg").rotate(90, expand=True).save(folder / "6.jpg")
    Image.open(folder / "4.jpg").resize((200, 150)).save(folder / "7.jpg", quality=60)
    for number in (5, 6, 7):
        (folder / f"{number}.txt").write_text(f"caption {number}")
    dataset, source = Dataset.open(str(root)), FolderSource(str(folder))
    plan_new(dataset, source)
    fill(dataset, source, ())
    return dataset


def test_what_is_added_is_compared_and_the_rest_is_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "SHARE", 2)
    root = tmp_path / "root"
    mark_duplicates(ingest(folder, root))
    (path,) = (root / "duplicates").iterdir()
    first = read_marks(FolderStore(root), f"duplicates/{path.name}")
    assert first is not None
    # Proof of who said it: were the pictures compared again, this would be gone.
    path.write_bytes(encode_table(first.set_column(4, "bits", pa.array([0, 3], pa.int8()))))
    dataset = add_pictures(folder, root)
    table, again = mark_duplicates(dataset), find_duplicates(dataset)
    assert table["bits"].to_pylist()[:2] == [0, 3]
    assert again["bits"].to_pylist()[:2] == [0, 0]
    assert table.drop_columns("bits").equals(again.drop_columns("bits"))
    assert [(r["key"][-1], r["of"][-1], r["kind"]) for r in table.to_pylist()][2:] == [
        ("5", "0", "exact"),
        ("7", "4", "near"),
    ]


@pytest.mark.parametrize("change", ["rules", "near", "shards", "state", "damage", "much"])
def test_marks_that_do_not_hold_any_more_are_not_kept(
    change: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duplicates, "SHARE", 2 if change != "much" else 4)
    root = tmp_path / "root"
    mark_duplicates(ingest(folder, root))
    (path,) = (root / "duplicates").iterdir()
    first = read_marks(FolderStore(root), f"duplicates/{path.name}")
    assert first is not None
    told = {name: value for name, value in (first.schema.metadata or {}).items() if name != change.encode()}
    wrong = encode_table(first.set_column(4, "bits", pa.array([0, 4], pa.int8())).replace_schema_metadata(told))
    path.write_bytes(wrong if change != "damage" else wrong[:-20] + bytes(20))
    if change == "state":
        path.rename(path.with_stem("0" * 64))
    dataset = add_pictures(folder, root)
    images = dataset.receipts(IMAGES)
    kinds = read_kinds(dataset.store)
    before = duplicates._find_before(dataset.store, kinds, images, 3 if change == "near" else 4)
    table = find_duplicates(dataset, 4, before)
    assert table.equals(find_duplicates(dataset))
    assert ("its marks are made again" in caplog.text) == (change == "damage")


def test_a_table_of_an_earlier_state_that_is_damaged_stops_nothing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever among the others it is listed; where it is the only one, how to go on is said."""
    root = tmp_path / "root"
    mark_duplicates(ingest(folder, root), 3)
    (path,) = (root / "duplicates").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes(20))
    dataset = add_pictures(folder, root)
    with pytest.raises(
        DamagedShard, match=r"not a parquet file .*; delete it, and the duplicates are marked again"
    ):
        mark_duplicates(dataset)
    for stem in ("0" * 64, "f" * 64):
        path.with_stem(stem).write_bytes(whole)
        assert choose_near(dataset.store, None) == 3
        made = mark_duplicates(dataset)
        assert made.equals(find_duplicates(dataset, 3))
        assert f"its marks are made again: duplicates/{path.name}" in caplog.text
        caplog.clear()
        path.with_stem(stem).unlink(missing_ok=True)
        (root / duplicates_path(dataset.receipts(IMAGES))).unlink()


@pytest.mark.parametrize(("changed", "said"), [(0, None), (1, "1 picture marked in another way")])
def test_marks_that_newer_rules_change_are_told(
    changed: int, said: str | None, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    mark_duplicates(ingest(folder, root))
    (path,) = (root / "duplicates").iterdir()
    table = read_marks(FolderStore(root), f"duplicates/{path.name}")
    assert table is not None
    # As a version without the longer hash left it, which had nothing in its metadata.
    path.write_bytes(encode_table(table.slice(changed).replace_schema_metadata(None)))
    dataset = add_pictures(folder, root)
    mark_duplicates(dataset)
    assert [
        record.getMessage() for record in caplog.records if said is None or said not in record.getMessage()
    ] == []
    assert len(caplog.records) == (said is not None)
    caplog.clear()
    (root / duplicates_path(dataset.receipts(IMAGES))).unlink()
    path.write_bytes(encode_table(table))
    mark_duplicates(dataset)
    assert not caplog.records


def test_tables_that_are_of_no_state_any_more_are_deleted(folder: Path, tmp_path: Path) -> None:
    """Those of earlier states stay, for the runs begun in them; so do later ones, other files, and those of
    earlier versions, which do not say what they are of."""
    root = tmp_path / "root"
    dataset = ingest(folder, root)
    mark_duplicates(dataset)
    (first,) = (root / "duplicates").iterdir()
    table = read_marks(dataset.store, f"duplicates/{first.name}")
    assert table is not None
    later = table.replace_schema_metadata({**(table.schema.metadata or {}), b"shards": b"9"})
    others = {
        "0" * 64: encode_table(table),
        "1" * 64: encode_table(later),
        "2" * 64: b"",
        "3" * 64: encode_table(table.replace_schema_metadata(None)),
        "mine": encode_table(table),
    }
    for stem, data in others.items():
        first.with_stem(stem).write_bytes(data)
    dataset = add_pictures(folder, root)
    mark_duplicates(dataset)
    second = duplicates_path(dataset.receipts(IMAGES))
    names = {first.name, Path(second).name, *(f"{stem}.parquet" for stem in others)}
    assert {path.name for path in (root / "duplicates").iterdir()} == names - {"0" * 64 + ".parquet"}


@pytest.mark.soak
def test_ten_million_rows_take_the_memory_of_two_million(tmp_path: Path) -> None:
    """To plan, to index, and to mark their duplicates, of which each mark may take 200 bytes."""

    def measure(rows: int) -> dict[str, float]:
        folder = tmp_path / f"{rows}"
        folder.mkdir()
        command = [sys.executable, "-m", "tests.bench.plan_memory", str(folder), str(rows)]
        told: dict[str, float] = json.loads(
            subprocess.run(command, check=True, capture_output=True, cwd=HERE).stdout
        )
        rmtree(folder)
        # Of hashes drawn at random a few in a hundred thousand have too few bits to be compared (VARIED).
        assert 0 <= (rows // 1000 - 1) * 40 - told["marks"] < 20
        return told

    few, many = measure(2_000_000), measure(10_000_000)
    marks = (many["marks"] - few["marks"]) * 200 / 1e6
    peaks = [max(told[f"{what}_megabytes"] for what in ("plan", "index", "mark")) for told in (few, many)]
    assert peaks[1] < 1.1 * peaks[0] + marks, (few, many)
