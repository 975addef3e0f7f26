"""A full disk: reported in one line, nothing is half published, and the same command finishes the work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.publish.plan import SUMS
from tests.faults.drive import drive
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

LAYOUTS = ("packed", "columns")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root") / "dataset"
    toy_dataset(folder, 24, 8)
    return folder


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(root: Path, layout: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:

    to = tmp_path_factory.mktemp("undisturbed") / "to"
    publish_here(Dataset.open(str(root)), to, layout=layout, shard_size=8)
    return contents(to)


def refused(root: Path, to: Path, layout: str, why: str, **options: int) -> dict[str, bytes]:
    """The files that are there after a run that could not write."""
    code, out, err = drive("publish", root, to=to, layout=layout, shard_size=8, **options)
    assert (code, out) == (3, "")
    assert err == f"t2i-shards: cannot write: {why}; nothing that is done is lost\n"
    assert not list(to.glob(".scratch/*"))
    return contents(to)


def assert_ends(root: Path, to: Path, layout: str, expected: dict[str, bytes]) -> None:
    assert drive("publish", root, to=to, layout=layout, shard_size=8)[0] == 0
    assert contents(to) == expected


def assert_nothing_half(left: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert SUMS not in left
    assert left.items() <= expected.items()


@pytest.mark.soak
def test_a_file_that_may_not_grow(root: Path, layout: str, expected: dict[str, bytes], tmp_path: Path) -> None:
    """A quota (EFBIG, as EDQUOT): no tar fits."""
    to = tmp_path / "to"
    left = refused(root, to, layout, "File too large", max_file=20_000)
    assert_nothing_half(left, expected)
    assert not [name for name in left if name.startswith(("data/", "receipts/"))]
    assert_ends(root, to, layout, expected)


@pytest.mark.soak
def test_a_full_disk(root: Path, layout: str, expected: dict[str, bytes], disk: Path) -> None:
    to, ballast = disk / "to", disk / "ballast"
    room = sum(-(-len(data) // 4096) * 4096 for data in expected.values()) // 2
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
    left = refused(root, to, layout, "No space left on device")
    assert_nothing_half(left, expected)
    ballast.unlink()
    assert_ends(root, to, layout, expected)
