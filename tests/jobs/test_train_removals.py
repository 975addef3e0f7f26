"""Samples that were removed, or are missing, since a training was begun."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.stream import open_stream
from tests.faults.trainings import make_scenes, train_words

pytestmark = pytest.mark.usefixtures("nobody_launched")


def _bits(out: Path) -> bytes:
    return (out / "adapter" / WEIGHTS).read_bytes()


def _after_removal(scenes: Path, begun: Path, to: Path, keys: list[str]) -> list[str]:
    """The command that resumes a copy of the run `begun`, these samples removed from a copy of its data."""
    to.mkdir()
    copytree(scenes, to / "dataset")
    copytree(begun, to / "run")
    remove(Dataset.open(str(to / "dataset")), "keys", keys)
    return train_words(to / "dataset", to / "run", steps=6)


def test_a_removal_does_not_end_a_training(
    alone: Path, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (held_out,) = json.loads((alone / "held_out.json").read_text())["datasets"]
    keys = {sample.key for sample in open_stream(str(scenes), ()).samples(0)}
    private = {key for _, key in held_out["samples"]}
    gone = [min(private), *sorted(keys - private)[:2]]

    words = _after_removal(scenes, alone, tmp_path / "noted", gone)
    assert run(words) == 0
    said = f"3 samples removed from the data since {tmp_path}/noted/run was begun; others take their places"
    assert said in caplog.messages
    noted = json.loads((tmp_path / "noted/run/extents.json").read_text())
    assert noted == {"begun": [{"shards": 6, "stones": 0}], "removed": [{"step": 4, "samples": 3}], "lanes": 1}

    # A run of the time before extents were noted.
    words = _after_removal(scenes, alone, tmp_path / "unnoted", gone)
    (tmp_path / "unnoted/run/extents.json").unlink()
    assert run(words) == 0
    assert _bits(tmp_path / "unnoted/run") == _bits(tmp_path / "noted/run")
    assert json.loads((tmp_path / "unnoted/run/extents.json").read_text()) == noted


def test_other_data_is_refused_whatever_was_removed(
    alone: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _after_removal(scenes, alone, tmp_path / "here", ["none"])
    make_scenes(tmp_path / "other", seed=1)
    remove(Dataset.open(str(tmp_path / "other")), "keys", ["000000001"])
    (tmp_path / "here/run/extents.json").unlink()
    words[1] = str(tmp_path / "other")
    assert run(words) == 2
    assert "was begun with other pictures, captions or conditions: name what" in capsys.readouterr().err


def test_a_training_without_its_held_out_samples_is_refused(
    alone: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (held_out,) = json.loads((alone / "held_out.json").read_text())["datasets"]
    assert run(_after_removal(scenes, alone, tmp_path / "here", [key for _, key in held_out["samples"]])) == 2
    assert "all 2 were removed from the data since this run was begun" in capsys.readouterr().err
