"""Losses: every row that became no sample and every sample that a column lacks, once, with its file and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.jobs.command import execute
from t2i_shards.jobs.status import StatusCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.losses import Loss, read_column_losses, read_losses
from t2i_shards.pipeline.shards.commit import commit_samples
from tests.pipeline.report.crawl import host, key, make_crawl, reason

COUNT = 14


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A crawl whose second sketch failed."""
    dataset = make_crawl(tmp_path / "root", COUNT)
    images, receipt = dataset.receipts(IMAGES)[0], dataset.receipts("sketch")[0]
    samples = dataset.load("sketch", 0)
    for name in ("sketch/000000.tar", "sketch/000000.json"):
        (tmp_path / "root" / name).unlink()
    commit_samples(
        dataset.store, [samples[0], *samples[2:]], column="sketch", shard=0, planned=images.samples,
        recipe=receipt.recipe, input_digest=images.sha256, drops={"failed (ValueError)": 1},
        dropped={samples[1].key: "failed (ValueError)"},
    )  # fmt: skip
    return tmp_path / "root"


def location(index: int) -> str:
    return f"https://{host(index)}/{index}.png"


def test_every_loss_is_named_once(root: Path) -> None:
    dataset = Dataset.open(str(root))
    rows = [Loss(key(i), location(i), str(reason(i))) for i in range(COUNT) if reason(i)]
    assert list(read_losses(dataset, dataset.receipts(IMAGES))) == rows
    assert list(read_column_losses(dataset, dataset.receipts("sketch"))) == [
        Loss(key(1), location(1), "failed (ValueError)")
    ]
    assert list(read_column_losses(dataset, dataset.receipts("seg"))) == []


def test_status_names_each_dropped_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(StatusCommand(str(root))) == 0
    assert location(5) not in capsys.readouterr().out
    assert execute(StatusCommand(str(root), drops=True)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"images: http 404: {location(5)}" in lines
    assert f"images: timed out: {location(12)}" in lines
    assert f"sketch: failed (ValueError): {location(1)}" in lines
    assert execute(StatusCommand(str(root), drops=True, json=True)) == 0
    dropped = json.loads(capsys.readouterr().out)["dropped"]
    assert [(drop["column"], drop["key"]) for drop in dropped] == [
        ("images", key(5)),
        ("images", key(12)),
        ("sketch", key(1)),
    ]


def test_what_cannot_be_read_is_said_and_ends_with_3(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "images" / "000000.rows.parquet").unlink()
    assert execute(StatusCommand(str(root), drops=True)) == 3
    assert "images/000000.rows.parquet: its shard has a receipt, but the file is gone" in capsys.readouterr().err
