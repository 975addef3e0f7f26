"""Ingest where pictures fail: what is counted, what is not committed, and when a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import BrokenStage, Drop, IncompleteError, RequestError, Unreachable
from t2i_shards.pipeline.sources.base import Original
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import Pictures, fill, make_images, problems
from tests.pipeline.stages.test_ingest import GEOMETRY, ingest


@dataclass(frozen=True)
class Moody(Pictures):
    """Raises for the rows of `bad`, drops those of `dull`."""

    bad: tuple[int, ...] = ()
    dull: tuple[int, ...] = ()

    def open(self, row: Row) -> Original:
        if row.extra["i"] in self.bad:
            raise KeyError(f"row {row.extra['i']}")
        if row.extra["i"] in self.dull:
            raise Drop("dull")
        return super().open(row)


def test_a_row_on_which_the_source_raises_is_counted_and_reported(tmp_path: Path) -> None:
    dataset, made = ingest(tmp_path / "root", Moody(6, bad=(1,), dull=(2, 4)), 3)
    assert made[0].errors == ("k00001: KeyError: 'row 1'",)
    assert made[0].receipts[IMAGES].drops == {"failed (KeyError)": 1, "dull": 1}
    assert made[1].errors == ()
    assert [s.key for n in dataset.shards for s in dataset.load(IMAGES, n)] == ["k00000", "k00003", "k00005"]


@pytest.mark.parametrize("error", [Unreachable("cannot read s3://b/a: reset"), RequestError("access is denied")])
def test_an_outage_of_the_store_drops_no_picture(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures are all there once it answers: the shard is not committed without them."""
    dataset = plan_dataset(str(tmp_path / "root"), source := Pictures(6), GEOMETRY, 3)
    stage = Ingest(dataset, source, {})
    stage.setup()
    real = Pictures.open

    def away(self: Pictures, row: Row) -> Original:
        if row.extra["i"] == 1:
            raise error
        return real(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "open", away)
        with pytest.raises(type(error)):
            stage(0)
    assert dataset.left([IMAGES]) == [0, 1]
    assert stage(0).receipts[IMAGES].samples == 3


def test_an_empty_shard_of_failures_is_not_committed(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="every sample of the shard failed; the first: k00000: KeyError"):
        ingest(tmp_path / "root", Moody(3, bad=(0, 1, 2)), 3)
    assert not list((tmp_path / "root").glob("images/*"))


def test_an_empty_shard_of_drops_is_done(tmp_path: Path) -> None:
    _, made = ingest(tmp_path / "root", Moody(3, dull=(0, 1, 2)), 3, ("sketch",))
    assert made[0].receipts[IMAGES].drops == {"dull": 3}
    assert (made[0].receipts["sketch"].planned, made[0].receipts["sketch"].samples) == (0, 0)
    assert problems(tmp_path / "root") == []


def test_drops_never_stop_a_run_but_a_hundred_failures_in_a_row_do(tmp_path: Path) -> None:
    ingest(tmp_path / "drops", Moody(250, dull=tuple(range(240))), 250)
    every_other = Moody(250, bad=tuple(i for i in range(250) if i % 50))
    _, made = ingest(tmp_path / "failures", every_other, 250)
    assert len(made[0].errors) == 245
    with pytest.raises(
        BrokenStage, match="100 samples failed in a row, so the stage is broken; the last: k00099: KeyError"
    ):
        ingest(tmp_path / "broken", Moody(250, bad=tuple(range(250))), 250)


def test_drops_between_failures_do_not_hide_that_the_stage_is_broken(tmp_path: Path) -> None:
    source = Moody(250, bad=tuple(range(0, 250, 2)), dull=tuple(range(1, 250, 2)))
    with pytest.raises(BrokenStage):
        ingest(tmp_path / "root", source, 250)


def test_a_source_that_gives_other_samples_now_is_an_error(tmp_path: Path) -> None:
    make_images(tmp_path / "root", Moody(6), 3)
    source = Moody(6, bad=(1,))
    dataset = Dataset.open(str(tmp_path / "root"))
    with pytest.raises(
        IncompleteError, match=r"images/000000 holds k00001, for which its source now gives no truth .KeyError"
    ):
        fill(dataset, source, ("sketch",))
    assert dataset.done("sketch") == set()
