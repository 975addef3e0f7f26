"""Files of an earlier version open, verify and are continued: a dataset, a run, and publications of both layouts.

tests/data/old.zip holds them as the commands of November 2026 wrote them: `root`, of scenes with four columns of
truth and an extracted one, one sample removed after it was published; `packed` and `columns`, publications of it;
`run`, a training of two steps, whose third gave the loss THIRD.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import read_tombstones
from t2i_shards.pipeline.publish.check import check_lists, plan_check
from t2i_shards.pipeline.report import collect_dataset, render_page
from t2i_shards.pipeline.runlog import read_log
from t2i_shards.pipeline.shards.store import FolderStore
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.verify import plan_verify, verify_columns, verify_plan, verify_tables
from t2i_shards.pipeline.stream import open_stream
from tests.pipeline.publish.toys import contents, publish_here
from tests.pipeline.report.crawl import look_here

OLD = Path(__file__).parents[1] / "data" / "old.zip"
THIRD = 0.1822806
PACKED: dict[str, Any] = {"shard_size": 3, "columns": ("sketch", "seg", "color")}
COLUMNS: dict[str, Any] = {"layout": "columns", "shard_size": 1000, "columns": ("sketch", "color")}
INGEST = "--samples 7 --shard-size 4 --size 64 --seed 3 --truth sketch seg keypose depth"
TRAIN = (
    "--condition sketch --base tiny --adapter tiny --size 64 --batch 2 --checkpoint-every 1 --threads 1 "
    "--validation 1 --seed 1 --device cpu"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(OLD) as archive:
        for name in archive.namelist():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    # The last checkpoint's adapter is the finished one.
    copytree(tmp_path / "run" / "checkpoints" / "000002" / "adapter", tmp_path / "run" / "adapter")
    return tmp_path


def before_removal(old: Path) -> Path:
    """The dataset as it was when the run and the publications were made."""
    copytree(old / "root", old / "earlier")
    rmtree(old / "earlier" / "tombstones")
    return old / "earlier"


def dataset_problems(root: Path) -> list[str]:
    dataset = Dataset.open(os.fspath(root))
    stage = plan_verify(dataset)
    shards = [line for shard in dataset.shards for line in stage(shard).errors]
    return [*verify_plan(dataset), *verify_tables(dataset), *verify_columns(dataset), *shards]


def publication_problems(root: Path) -> list[str]:
    store = FolderStore(root)
    stage = plan_check(store)
    return [*check_lists(store), *(line for group in range(len(stage.groups)) for line in stage(group).errors)]


def test_all_of_it_verifies(old: Path) -> None:
    assert dataset_problems(old / "root") == []
    assert dataset_problems(old / "columns") == []
    for published in ("packed", "columns"):
        assert publication_problems(old / published) == []


@pytest.mark.usefixtures("in_this_process")
def test_the_dataset_is_continued(old: Path) -> None:
    root, before = old / "root", contents(old / "root")
    here = "--engine local --workers 1"
    assert run(f"ingest scenes --out {root} {INGEST} {here}".split()) == 0
    assert run(f"extract {root} --conditions color {here}".split()) == 0
    assert contents(root) == before, "all was done"
    dataset = Dataset.open(os.fspath(root))
    look_here(plan_extract(dataset, ["canny"]), dataset.shards)
    assert dataset_problems(root) == []
    assert {path: data for path, data in contents(root).items() if not path.startswith("canny/")} == before
    (gone,) = set().union(*read_tombstones(dataset).values())
    samples = list(open_stream(os.fspath(root), ["sketch", "color", "canny"]).samples(0))
    assert len(samples) == 6
    assert gone not in {sample.key for sample in samples}


def test_the_report_shows_it(old: Path) -> None:
    facts = collect_dataset(os.fspath(old / "root"), 7, look_here)
    assert (facts.problems, dict(facts.left_out), len(facts.rows)) == ((), {"removed": 1}, 6)
    assert facts.tally is not None
    assert facts.tally.samples == 6
    assert [column.provenance.by for column in facts.columns][:2] == [
        "ingest scenes",
        "scenes 1, ground truth of the source",
    ]
    assert all(row.key in render_page([facts], None) for row in facts.rows)


def test_publications_are_whole_and_the_next_revision_is_made(old: Path) -> None:
    before = contents(old / "packed"), contents(old / "columns")
    earlier = Dataset.open(os.fspath(before_removal(old)))
    assert publish_here(earlier, old / "packed", **PACKED).made == 0
    assert publish_here(earlier, old / "columns", **COLUMNS).made == 0
    assert contents(old / "packed") == before[0]
    signed_anew = {"README.md", "SHA256SUMS"}  # it did not name the table of duplicates
    assert {path for path, data in contents(old / "columns").items() if before[1][path] != data} == signed_anew
    assert publication_problems(old / "columns") == []
    published = publish_here(Dataset.open(os.fspath(old / "root")), old / "packed", purge=True, **PACKED)
    assert (published.made, published.made_anew, published.counts) == (1, 1, {"train": 6})
    assert publication_problems(old / "packed") == []


def test_the_training_is_continued(old: Path) -> None:
    adapter = old / "run" / "adapter" / WEIGHTS
    before = adapter.read_bytes()
    root, out = os.fspath(before_removal(old)), os.fspath(old / "run")
    assert run(["train", root, *TRAIN.split(), "--steps", "3", "--out", out]) == 0
    assert adapter.read_bytes() != before
    losses = {line.step: line.loss for line in read_log(old / "run" / "log.jsonl")}
    assert losses[3] == pytest.approx(THIRD, rel=1e-3)
