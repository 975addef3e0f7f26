"""A picture that ends its worker is dropped by name, and its neighbours become samples."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors import budget
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import WEB_FORMATS, decode_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages import isolated
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.isolated import COSTLY, decode_in_child
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests import bombs
from tests.faults.toys import problems
from tests.pipeline.image.pictures import gradient, save

GEOMETRY = Geometry(64)


def slow() -> bytes:
    """Two seconds of a core, within the limit on scans."""
    return bombs.many_scans(2000, 2000, 700)


@dataclass
class Hurried(Ingest):
    """Ingest whose pictures have half a second of CPU, however long the child takes to start."""

    def setup(self) -> None:
        super().setup()
        budget.SECONDS, isolated.TIMEOUT_FACTOR = 0.5, 10_000


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for a picture, by the child's own deadline alone."""
    monkeypatch.setattr(budget, "SECONDS", 0.5)
    monkeypatch.setattr("t2i_shards.pipeline.stages.isolated.TIMEOUT_FACTOR", 10_000)


def test_a_picture_that_ends_its_worker_is_dropped_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(slow() if number == 3 else save(gradient(90, 90 + number), "JPEG"))
        (folder / f"{number}.txt").write_text(f"picture {number}")
    source = FolderSource(str(folder))
    dataset = plan_dataset(str(tmp_path / "root"), source, GEOMETRY, 5)
    outcome = run(Hurried(dataset, source, {}), dataset.shards, "local", 1)
    assert outcome.quarantined == {}
    assert (outcome.attempts[0], outcome.deaths) == (1, {0})
    receipt = dataset.receipts(IMAGES)[0]
    assert (receipt.samples, receipt.drops) == (4, {COSTLY: 1})
    ((_, table),) = read_outcomes(dataset, ("key", "status"))
    assert table["status"].to_pylist() == ["ok", "ok", "ok", COSTLY, "ok"]
    assert problems(tmp_path / "root") == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_child_decodes_the_same(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(gradient(300, 500), kind, exif=exif)
    with decode_in_child() as decode:
        found = decode(data, GEOMETRY, WEB_FORMATS)
        again = decode(data, GEOMETRY, WEB_FORMATS)
    expected = decode_picture(data, GEOMETRY, WEB_FORMATS)
    assert np.array_equal(found.picture, expected.picture)
    assert np.array_equal(again.picture, expected.picture)
    assert (found.size, found.turned) == (expected.size, expected.turned) == ((300, 500), True)


@pytest.mark.usefixtures("hurry")
def test_a_child_that_is_ended_by_its_deadline_is_replaced() -> None:
    small = save(gradient(), "PNG")
    with decode_in_child() as decode:
        for _ in range(2):
            with pytest.raises(Drop, match=COSTLY):
                decode(slow(), GEOMETRY, WEB_FORMATS)
            assert decode(small, GEOMETRY, WEB_FORMATS).picture.shape == (48, 64, 3)


def test_a_child_has_a_limit_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = bombs.flat_png(9900, 9900, 6)
    monkeypatch.setattr(budget, "MEMORY", 64 << 20)
    with decode_in_child() as decode:
        with pytest.raises(Drop, match=COSTLY):
            decode(dear, GEOMETRY, WEB_FORMATS)
        assert decode(save(gradient(), "PNG"), GEOMETRY, WEB_FORMATS).picture.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"<html>", "not a picture"), (save(gradient(20, 20), "PNG"), "too small")]
)
def test_a_childs_drops_are_those_of_the_decoder(data: Any, reason: str) -> None:
    with decode_in_child() as decode, pytest.raises(Drop, match=f"^{reason}$"):
        decode(data, GEOMETRY, WEB_FORMATS)


def test_what_a_child_logs_is_plain() -> None:
    script = """
import logging, sys
from t2i_shards.pipeline.stages import isolated

def answer(request, data):
    logging.getLogger("some.library").warning("at %s", data.decode())
    return {"drop": "told"}, None

isolated._answer = answer
isolated.main(int(sys.argv[1]), 60.0, 1 << 30)
"""
    ours, theirs = Pipe()
    command = [sys.executable, "-c", script, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True) as child:
        theirs.close()
        ours.send_bytes(b"{}")
        ours.send_bytes(b"https://a:b@h/\x1b[2J")
        ours.recv_bytes()
        ours.close()
        assert child.communicate()[1] == "at https://\u2026@h/\\x1b[2J\n"
