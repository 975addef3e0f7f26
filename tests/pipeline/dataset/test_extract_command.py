"""Messages about a column name the command that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.extract_command import extract_command
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.verify import describe_repairs, plan_verify
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, make_images


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(4), 2, ("sketch",))


def test_it_has_the_options_that_the_column_was_made_with() -> None:
    assert extract_command("my data", "depth") == "`t2i-shards extract 'my data' --conditions depth`"
    assert (
        extract_command("r", "depth", {"compiled": True}) == "`t2i-shards extract r --conditions depth --compile`"
    )
    mini = {"extractor": "sketch", "variant": "mini"}
    assert (
        extract_command("r", "lines", mini)
        == "`t2i-shards extract r --conditions sketch --variant mini --as lines`"
    )
    assert extract_command("r", "sketch", {"extractor": "sketch", "variant": "default"}) == extract_command(
        "r", "sketch"
    )
    assert extract_command("r", "sketch", {"made_by": "folder"}) is None
    assert extract_command("r", "unheard-of") is None


def test_a_column_that_is_not_there(dataset: Dataset) -> None:
    root = dataset.store.root
    had = r"it has images, sketch"
    with pytest.raises(RequestError, match=rf"'depth'; {had}; make it with `t2i-shards extract {root} .*depth`$"):
        open_stream(root, ("depth",))
    with pytest.raises(RequestError, match=rf"has no column 'toy'; {had}$"):
        open_stream(root, ("toy",))


def test_a_column_that_is_not_whole(dataset: Dataset) -> None:
    stage = plan_extract(dataset, ["canny"])
    stage.setup()
    stage(0)
    with pytest.raises(RequestError, match=r"canny lacks 1 of 2 shards.*run `.*--conditions canny` again"):
        open_stream(dataset.store.root, ("canny",))


def test_the_variant_of_a_column_comes_before_the_weights_of_another(dataset: Dataset, tmp_path: Path) -> None:
    plan_extract(dataset, ["depth"], variant="mini")
    with pytest.raises(RequestError, match=r"depth was made with --variant mini, this asks for default: `.*mini`"):
        plan_extract(dataset, ["depth"], weights=tmp_path)
    with pytest.raises(RequestError, match="pass --weights DIR"):
        plan_extract(dataset, ["depth"], weights=tmp_path, column="other")


def test_verify_tells_how_damaged_shards_are_made_again(dataset: Dataset) -> None:
    stage = plan_extract(dataset, ["canny"])
    stage.setup()
    stage(0), stage(1)
    for column in ("images", "canny"):
        Path(dataset.store.root, column, "000001.tar").write_bytes(b"")
    problems = plan_verify(dataset)(1).errors
    told = describe_repairs(dataset, problems)
    assert [line.partition(":")[0] for line in told] == ["images", "canny"]
    assert "restore a damaged shard from a copy" in told[0]
    assert f"then `t2i-shards extract {dataset.store.root} --conditions canny` makes it again" in told[1]
    dataset.store.create_bytes(f"drafts/canny-000001.{'0' * 64}.json", b"")
    assert "run `t2i-shards erase" in describe_repairs(dataset, problems)[1]
    assert describe_repairs(dataset, ["plan: its digest is not the one in dataset.json"]) == []
