"""What a training held out is found again, for the pictures it was held out of."""

from __future__ import annotations

from pathlib import Path

from t2i_shards.adapters.held_out import find_held_out, read_held_out, write_held_out
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stream import HeldOut, Stream, open_stream
from tests.faults.toys import fill
from tests.pipeline.web import Web, put_failure, put_picture


def test_what_was_held_out_is_known_when_the_dataset_has_grown(tmp_path: Path) -> None:
    folder, names = tmp_path / "web", ("a-0", "a-1", "b-0", "b-1")
    for number, name in enumerate(names):
        put_picture(folder, name, number)
    put_failure(folder, "b-1", "timed out")
    source = Web(str(folder), names)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)

    def ingest() -> Stream:
        fill(dataset, source)
        return open_stream(dataset.store.root, ())

    write_held_out(tmp_path, ingest().hold_out(1)[0].held_out)
    known = find_held_out(tmp_path, dataset)
    assert known is not None
    assert len(known) == 1
    put_picture(folder, "b-1", 3)
    assert plan_retry(dataset)
    assert read_held_out(tmp_path, ingest().data) is None
    assert find_held_out(tmp_path, Dataset.open(dataset.store.root)) == known


def test_in_a_dataset_mixed_with_itself_only_unseen_samples_are_held_out(tmp_path: Path) -> None:
    ours = HeldOut("a", "0", ((0, "x"), (1, "y"))), HeldOut("b", "1"), HeldOut("a", "0", ((1, "y"),))
    write_held_out(tmp_path, ours)
    assert read_held_out(tmp_path, "0") == [(1, "y")]
    assert read_held_out(tmp_path, "1") == []
    assert read_held_out(tmp_path, "2") is None
