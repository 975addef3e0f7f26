"""--report-to wandb, with the real library, which writes into the run's folder when it is told to stay offline."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.training.boards import NAME, WandbWriter, find_id
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import LogLine
from tests.adapters.toys import toy_config, toy_stream


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for place in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{place}_DIR", str(tmp_path / "home"))


def sent(run: Path, last: bytes) -> bytes:
    """What waits to be sent, once `last` is there: wandb's own process still writes after the run's end."""
    run_id = json.loads((run / NAME).read_text())["id"]
    [file] = run.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    for _ in range(300):
        if last in file.read_bytes():
            break
        time.sleep(0.1)
    return file.read_bytes()


@pytest.mark.soak
def test_a_training_sends_the_numbers_of_its_steps_and_its_options(tiny: Base, tmp_path: Path) -> None:
    Training(toy_config(tmp_path, steps=2, validate_every=1, report_to="wandb"), toy_stream(), tiny).run()
    for name in (b"loss/step", b"loss/validation", b"learning rate", b"memory/process bytes", b"lr_schedule"):
        assert name in sent(tmp_path, name)
    assert not list(tmp_path.glob("wandb/*/files/requirements.txt")), "what else is installed is nobody's business"


@pytest.mark.soak
def test_pictures_are_sent_and_the_id_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["t2i-shards", "train", "s3://user:secret@bucket/set"])
    writer = WandbWriter(tmp_path, {"bucket": "s3://user:secret@bucket/set"})
    writer.add(LogLine(1, 0.625))
    writer.add_picture(np.full((4, 6, 3), 9, np.uint8), 1)
    writer.close()
    found = sent(tmp_path, b"samples")
    assert b"0.625" in found
    assert b"samples" in found
    assert b"secret" not in found
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.glob("wandb/**/*") if path.is_file())
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/samples_*.png"))) == 1
    run_id = json.loads((tmp_path / NAME).read_text())["id"]
    assert find_id(tmp_path) == run_id


@pytest.mark.parametrize("begin", [True, False])
def test_a_run_that_cannot_report_is_refused_before_it_begins_and_in_a_dry_run(
    begin: bool, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RequestError, match="--report-to wandb needs wandb, which is not installed"):
        Training(toy_config(tmp_path / "run", steps=2, report_to="wandb"), toy_stream(), tiny, begin=begin)
    assert not (tmp_path / "run").exists()


@pytest.mark.soak
def test_nobody_logged_in_is_refused_before_the_run_begins(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(RequestError, match=r"does not begin: .*No API key configured.*run `wandb login`"):
        Training(toy_config(tmp_path / "run", steps=2, report_to="wandb"), toy_stream(), tiny)
    assert not (tmp_path / "run").exists()
    wandb.teardown()
