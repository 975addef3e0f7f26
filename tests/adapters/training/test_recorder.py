"""What may fail while a training is recorded without costing a step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.run_folder import hold_run
from t2i_shards.adapters.training.checkpoint import newest_step
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.adapters.training.validation import Validation
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import read_log
from tests.adapters.toys import MemoryStream, toy_config, toy_sample, toy_stream


def _adapter_bytes(run: Path) -> bytes:
    return (run / "adapter" / WEIGHTS).read_bytes()


def _told(run: Path) -> list[Any]:
    return [(line.step, line.loss, line.validation, line.mismatched) for line in read_log(run / "log.jsonl")]


@pytest.fixture(scope="module")
def straight(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("straight")
    Training(toy_config(out, steps=4, validate_every=2), toy_stream(), tiny).run()
    return out


@pytest.mark.parametrize("at", [2, 4])
def test_a_measure_that_fails_costs_no_step(
    at: int, straight: Path, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint comes first. The line that is missing then is written by the next command."""
    config, plain, calls = toy_config(tmp_path, steps=4, validate_every=2), Validation.measure, []

    def measure(validation: Validation, *given: Any) -> float:
        calls.append(given)
        if len(calls) == 1 + at:  # two measures at each of the steps 0, 2, 4
            raise RuntimeError("CUDA out of memory")
        return plain(validation, *given)

    monkeypatch.setattr(Validation, "measure", measure)
    with pytest.raises(RuntimeError, match="out of memory"):
        Training(config, toy_stream(), tiny).run()
    assert newest_step(tmp_path) == at
    assert _told(tmp_path) == _told(straight)[:at]
    assert Training(config, toy_stream(), tiny).run().new_steps == 4 - at
    assert _told(tmp_path) == _told(straight)
    assert _adapter_bytes(tmp_path) == _adapter_bytes(straight)


def test_a_failed_preview_is_reported_and_the_training_continues(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def look(*_: object) -> None:
        raise RuntimeError("CUDA out\nof memory")

    monkeypatch.setattr("t2i_shards.adapters.training.preview.SamplePreview.render", look)
    stream = MemoryStream([toy_sample(index, size=128) for index in range(6)])
    config = toy_config(tmp_path, steps=2, sample_every=1, variant="mini")
    assert Training(config, stream, tiny).run().steps == 2
    assert caplog.messages == [
        f"no sample pictures at step {step}, the training continues: RuntimeError: CUDA out of memory"
        for step in (1, 2)
    ]
    assert [line.obedience for line in read_log(tmp_path / "log.jsonl")] == [None] * 3


def test_tensorboard_that_cannot_be_written_is_said_once(
    straight: Path, tiny: Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").touch()
    Training(toy_config(tmp_path, steps=4), toy_stream(), tiny).run()
    (line,) = caplog.messages
    assert line.startswith("nothing more is written for TensorBoard: ")
    assert _adapter_bytes(tmp_path) == _adapter_bytes(straight)


def test_a_disk_that_is_full_for_tensorboard_alone_ends_no_training(
    straight: Path,
    tiny: Base,
    disk: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tensorboard").symlink_to(disk)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free))
    Training(toy_config(tmp_path, steps=4), toy_stream(), tiny).run()
    assert len(caplog.messages) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert _adapter_bytes(tmp_path) == _adapter_bytes(straight)


def test_a_run_that_another_process_holds_is_refused(
    straight: Path, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(straight, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr("t2i_shards.adapters.run_folder.LOCK_SECONDS", 0)
    more = Training(toy_config(out, steps=5), toy_stream(), tiny)
    with (
        hold_run(out),
        pytest.raises(RequestError, match=f"another train is running in {out}: wait until it ends"),
    ):
        more.run()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    assert more.run().new_steps == 1
