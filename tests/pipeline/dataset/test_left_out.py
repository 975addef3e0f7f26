"""What a plan leaves out has names: in tables of bounded size, anew with --add-new, and none that was erased."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.status import StatusCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.erased_plan import erased_location, is_erased
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_named, read_notes
from t2i_shards.pipeline.dataset.left_out_files import FOLDER
from t2i_shards.pipeline.dataset.supplement import plan_new
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources import left_out as names
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages import verify
from t2i_shards.pipeline.stages.erase import begin_erasing, plan_erase
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.verify import verify_tables
from tests.faults.toys import fill
from tests.pipeline.coco_toy import SPLIT, edit, rendered_pictures, write_coco
from tests.pipeline.image.pictures import save, smooth
from tests.pipeline.publish.toys import publish_here

PNG = save(smooth(80, 96), "PNG")
MARKDOWN = {"a.md", "b.md", "c.md", "d.md", "e.md"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture with its caption, five files that are none, and a caption of no picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    put(folder, "p")
    for name in MARKDOWN:
        (folder / name).write_bytes(b"")
    (folder / "lonely.txt").write_text("of no picture")
    return folder


def put(folder: Path, name: str) -> None:
    (folder / f"{name}.png").write_bytes(PNG)
    (folder / f"{name}.txt").write_text(f"picture {name}")


def ingest(folder: Path, root: Path) -> Dataset:
    dataset = plan_dataset(str(root), FolderSource(str(folder)), Geometry(64), 10)
    fill(dataset, FolderSource(str(folder)))
    return dataset


def named(dataset: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for reason, location in read_named(dataset.store):
        found.setdefault(reason, set()).add(location)
    return found


def status(root: Path, **options: Any) -> Any:
    return StatusCommand(str(root), left_out=True, **options).run()


def test_status_lists_each_file_with_its_reason(folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    assert named(dataset) == {"format not taken": MARKDOWN, "caption without picture": {"lonely.txt"}}
    summary = status(tmp_path / "root")
    lines = [line for line in summary.line.splitlines() if line.startswith("left out: ")]
    assert lines == [f"left out: format not taken: {name}" for name in sorted(MARKDOWN)] + [
        "left out: caption without picture: lonely.txt"
    ]
    assert {"reason": "format not taken", "location": "a.md"} in summary.record["left_out_files"]
    assert "left_out_files" not in StatusCommand(str(tmp_path / "root")).run().record


def test_a_name_of_two_lines_is_shown_on_one(folder: Path, tmp_path: Path) -> None:
    (folder / "line\nfeed.md").write_bytes(b"")
    ingest(folder, tmp_path / "root")
    reason = "name with control characters or not UTF-8"
    assert f"left out: {reason}: line\\nfeed.md" in status(tmp_path / "root").line.splitlines()


def test_no_more_names_are_in_memory_than_may_be_and_the_same_files_give_the_same_tables(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "AT_ONCE", 4)
    dataset = ingest(folder, tmp_path / "root")
    assert len(dataset.store.names(FOLDER)) == 3
    assert sum(map(len, named(dataset).values())) == 6
    again = ingest(folder, tmp_path / "again")
    assert again.store.names(FOLDER) == dataset.store.names(FOLDER)


def test_verify_holds_the_names_of_one_table_at_most(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "AT_ONCE", 2)
    dataset, most = ingest(folder, tmp_path / "root"), 0

    class Name:
        pass

    alive = weakref.WeakSet[Name]()

    def read(store: Store) -> Iterator[Name]:
        nonlocal most
        for _ in read_named(store):
            alive.add(name := Name())
            most = max(most, len(alive))
            yield name

    monkeypatch.setattr(verify, "read_named", read)
    assert verify_tables(dataset) == []
    assert 0 < most <= 2


def test_files_that_came_since_are_named_and_those_that_are_taken_now_are_not(
    folder: Path, tmp_path: Path
) -> None:
    dataset = ingest(folder, tmp_path / "root")
    assert plan_new(dataset, FolderSource(str(folder))) is None
    assert len(dataset.store.names(FOLDER)) == 2, "nothing has changed"
    (folder / "lonely.png").write_bytes(PNG)
    (folder / "f.md").write_bytes(b"")
    assert plan_new(dataset, FolderSource(str(folder))) is not None
    assert named(dataset) == {"format not taken": MARKDOWN | {"f.md"}}
    assert read_left_out(dataset.store) == {"format not taken": 6}
    (folder / "long.txt").write_text("word " * 2000)
    (folder / "long.png").write_bytes(PNG)
    plan_new(dataset, FolderSource(str(folder)))
    assert read_notes(dataset.store) == {"captions shortened": 1}


def test_a_dataset_of_an_earlier_version_says_that_it_has_no_names_until_new_files_are_planned(
    folder: Path, tmp_path: Path
) -> None:
    dataset = ingest(folder, tmp_path / "root")
    shutil.rmtree(tmp_path / "root" / FOLDER)
    summary = status(tmp_path / "root")
    assert "left out: 6 rows without a name, as rows of tables are" in summary.line
    assert (summary.record["left_out_files"], summary.problems) == ([], ())
    plan_new(dataset, FolderSource(str(folder)))
    assert sum(map(len, named(dataset).values())) == 6


def test_what_is_erased_from_the_plan_is_erased_here_too(tmp_path: Path) -> None:
    """Two entries of COCO name one file, one of them without a caption."""
    coco = write_coco(tmp_path / "coco", rendered_pictures(2))

    def double(record: dict[str, Any]) -> None:
        record["images"].append({**record["images"][0], "id": 99})

    edit(coco, "captions", double)
    source = CocoSource(str(coco), SPLIT)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 10)
    fill(dataset, source)
    [row] = [row for row in dataset.plan(0) if {row.location} == named(dataset)["no caption"]]
    remove(dataset, "keys", [row.key])
    begin_erasing(stage := plan_erase(dataset))
    for shard in stage.rows:
        stage(shard)
    assert named(dataset) == {"no caption": {erased_location(row.location)}}
    assert is_erased(erased_location(row.location))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "root" / FOLDER).iterdir())
    assert row.location.encode() not in kept
    assert verify_tables(dataset) == []
    begin_erasing(plan_erase(dataset))
    assert named(dataset) == {"no caption": {erased_location(row.location)}}


def test_a_picture_that_was_erased_and_deleted_is_not_named_again_where_metadata_still_do(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "secret.png").write_bytes(PNG)
    (folder / "metadata.jsonl").write_text('{"file_name": "secret.png", "text": "a caption"}\n')
    dataset = ingest(folder, tmp_path / "root")
    remove(dataset, "keys", [row.key for row in dataset.plan(0) if row.location == "secret.png"])
    begin_erasing(stage := plan_erase(dataset))
    stage(0)
    (folder / "secret.png").unlink()
    assert plan_new(dataset, FolderSource(str(folder))) is None
    assert named(dataset)["no such file"] == {erased_location("secret.png")}
    assert not [path for path in (tmp_path / "root" / "plan").rglob("*.parquet") if b"secret" in path.read_bytes()]


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_a_publication_has_the_counts_alone(layout: str, folder: Path, tmp_path: Path) -> None:
    publish_here(ingest(folder, tmp_path / "root"), tmp_path / "to", layout=layout)
    there = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert not [path for path in there if b"lonely" in path.read_bytes()]
    if layout == "columns":
        copy = Dataset.open(str(tmp_path / "to"))
        assert read_left_out(copy.store) == {"caption without picture": 1, "format not taken": 5}


@pytest.mark.parametrize("damage", ["gone", "other", "record"])
def test_damage_is_named_with_a_way_out_that_works(damage: str, folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    [table] = (tmp_path / "root" / FOLDER).glob("*.parquet")
    if damage == "gone":
        table.unlink()
    else:
        path = table if damage == "other" else tmp_path / "root" / FOLDER / "000000.json"
        path.write_bytes(json.dumps({"counts": []}).encode())
    [line, *_] = verify_tables(dataset)
    assert line.endswith("delete the folder plan/left_out; status then no longer names these files")
    shutil.rmtree(tmp_path / "root" / FOLDER)
    assert verify_tables(dataset) == []
    assert read_left_out(dataset.store) == {"caption without picture": 1, "format not taken": 5}


def test_caption_files_that_are_not_asked_for_are_called_so(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_bytes(b"")
    source = FolderSource(str(folder), captions="filename")
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 10)
    captions = {"p.txt", "lonely.txt", "metadata.csv"}
    assert named(dataset) == {"format not taken": MARKDOWN, "caption file, not asked for": captions}


@pytest.mark.parametrize("name", ["p.txt", "p.PNG.txt"])
def test_the_caption_file_of_an_erased_picture_has_no_name_either(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "p.png").rename(folder / "p.PNG")
    (folder / "p.txt").rename(folder / name)
    source = FolderSource(str(folder), captions="none")
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 10)
    fill(dataset, source)
    remove(dataset, "paths", ["p.PNG"])
    begin_erasing(stage := plan_erase(dataset))
    stage(0)
    for _ in range(2):
        found = named(dataset)["caption file, not asked for"]
        assert found == {erased_location(name), "lonely.txt"}
        (folder / "new.md").write_bytes(b"")  # so that --add-new writes a record
        plan_new(dataset, source)
