"""Verifying a publication: whatever is damaged, gone or added is named, on a folder, on S3 and on the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish.check import check_lists, is_publication, plan_check
from t2i_shards.pipeline.publish.hub import send
from t2i_shards.pipeline.publish.repository import Repository
from t2i_shards.pipeline.shards.store import Store, open_store
from tests.pipeline.publish.before import unpack_before
from tests.pipeline.publish.hub_server import Hub
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset


def problems_of(store: Store) -> list[str]:
    assert is_publication(store)
    stage = plan_check(store)
    return [*check_lists(store), *(line for n in range(len(stage.groups)) for line in stage(n).errors)]


@pytest.fixture(scope="module", params=["packed", "columns"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp(request.param)
    publish_here(toy_dataset(base / "root", 8, 4, color=False), base / "to", layout=request.param, shard_size=4)
    return base / "to"


def test_a_flipped_bit_is_found_in_each_file(published: Path) -> None:
    store = open_store(str(published))
    assert problems_of(store) == []
    for name, data in contents(published).items():
        if name == "SHA256SUMS":
            continue
        half = len(data) // 2
        (published / name).write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
        found = problems_of(store)
        (published / name).write_bytes(data)
        assert any(line.startswith(f"{name}: must have sha256") for line in found), name
    assert problems_of(store) == []


def test_a_file_that_is_gone_is_named(published: Path) -> None:
    store = open_store(str(published))
    for name, data in contents(published).items():
        if name in ("SHA256SUMS", "publish.json"):
            continue
        (published / name).unlink()
        found = problems_of(store)
        (published / name).write_bytes(data)
        assert f"{name}: is in SHA256SUMS, but the file is gone; publish again" in found


def test_what_is_no_file_hides_no_other(published: Path) -> None:
    """A shard, its receipt and its indexes are read by one worker."""
    store, whole = open_store(str(published)), contents(published)
    names = [path for group in plan_check(store).groups if len(group) > 1 for path, _ in group]
    assert len(names) >= 4
    for name in names:
        (published / name).unlink()
        (published / name).mkdir()
    found = problems_of(store)
    for name in names:
        (published / name).rmdir()
        (published / name).write_bytes(whole[name])
    assert {f"{name}: must be a regular file; delete it and publish again" for name in names} <= set(found)


def test_a_shard_that_was_added_is_named(published: Path) -> None:
    store = open_store(str(published))
    added = f"{'data' if (published / 'data').is_dir() else 'sketch'}/other.tar"
    (published / added).write_bytes(b"of somebody else")
    found = problems_of(store)
    (published / added).unlink()
    (line,) = found
    assert line.startswith(
        f"{added}: is not in SHA256SUMS, but readers take it for a shard; delete it, or publish"
    )


def test_what_else_people_add_is_not_named(published: Path) -> None:
    """A column that was extracted here, a removal, the page of `report`, files of git and the Hub, notes."""
    folders = (".git", ".cache", "report_files", "depth", "tombstones")
    files = (".gitattributes", "report.html", "notes.txt")
    store = open_store(str(published))
    for name in (*files, *(f"{folder}/000000.tar" for folder in folders)):
        (published / name).parent.mkdir(exist_ok=True)
        (published / name).write_bytes(b"")
    found = problems_of(store)
    for folder in folders:
        shutil.rmtree(published / folder)
    for name in files:
        (published / name).unlink()
    assert found == []


def test_what_is_not_signed_is_not_whole(published: Path) -> None:
    store, signature = open_store(str(published)), published / "SHA256SUMS"
    data = signature.read_bytes()
    signature.unlink()
    with pytest.raises(IncompleteError, match="is incomplete: SHA256SUMS, which is written last, is not there"):
        plan_check(store)
    signature.write_bytes(data.replace(b"  ", b" "))
    with pytest.raises(IncompleteError, match="SHA256SUMS: a line must be a sha256, two spaces and a path"):
        plan_check(store)
    signature.write_bytes(data + b"0" * 64 + b"  ../../other\n")
    with pytest.raises(RequestError, match=r"\.\./\.\./other"):
        problems_of(store)
    signature.write_bytes(data)


def test_on_s3(published: Path, bucket: str) -> None:
    store = open_store(f"{bucket}/some/place")
    for name, data in contents(published).items():
        store.create_bytes(name, data)
    assert problems_of(store) == []
    tar = "data/train-000001.tar" if (published / "data").is_dir() else "images/000001.tar"
    data = bytes(store.load(tar))
    store.discard(tar)
    assert problems_of(store) == [f"{tar}: is in SHA256SUMS, but the file is gone; publish again"]
    store.create_bytes(tar, data[:-1])
    assert [line.partition(" must")[0] for line in problems_of(store)] == [f"{tar}:"]


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_an_edited_card_is_named_until_the_next_publish_keeps_it(tmp_path: Path, layout: str) -> None:
    dataset, to = toy_dataset(tmp_path / "root", 4, 4, color=False), tmp_path / "to"
    publish_here(dataset, to, layout=layout)
    with open(to / "README.md", "a") as file:
        file.write("\nA line of the owner's.\n")
    edited, store = (to / "README.md").read_bytes(), open_store(str(to))
    assert [line.partition("; ")[2] for line in problems_of(store)] == [
        "if you edited it, publish again, which keeps the edit; otherwise delete it first"
    ]
    publish_here(dataset, to, layout=layout)
    assert (to / "README.md").read_bytes() == edited
    assert problems_of(store) == []


@pytest.mark.parametrize("branch", ["main", "second"])
def test_on_the_hub(published: Path, hub: Hub, branch: str) -> None:
    place = Repository("user/name", branch)
    send(published, place)
    assert problems_of(open_store(str(place))) == []
    tar = "data/train-000001.tar" if (published / "data").is_dir() else "images/000001.tar"
    data = contents(published)[tar]
    half = len(data) // 2
    hub.edit({tar: data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]}, branch)
    assert [line.partition(" must")[0] for line in problems_of(open_store(str(place)))] == [f"{tar}:"]
    hub.edit({tar: data[:-1]}, branch)
    assert [line.partition(" must")[0] for line in problems_of(open_store(str(place)))] == [f"{tar}:"]
    hub.edit({tar: None}, branch)
    gone = f"{tar}: is in SHA256SUMS, but the file is gone; publish again"
    assert problems_of(open_store(str(place))) == [gone]
    hub.edit({tar: data}, branch)
    assert problems_of(open_store(str(place))) == []
    hub.fail = lambda method, path: 404 if path.endswith(tar) else None
    assert problems_of(open_store(str(place))) == [gone]


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_what_an_earlier_version_published(tmp_path: Path, layout: str) -> None:
    unpack_before(tmp_path)
    assert problems_of(open_store(str(tmp_path / layout))) == []
