from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.run_folder import claim_run
from t2i_shards.adapters.training.checkpoint import (
    TrainProgress,
    TrainState,
    discard_checkpoints,
    discard_not_finite,
    newest_step,
    resume,
    save_checkpoint,
)
from t2i_shards.pipeline.errors import RequestError

SCALER = torch.amp.GradScaler("cpu").state_dict()
LAYOUT = adapter_config_for("tiny", 1, (32, 32, 32, 64))


def _trained(steps: int, seed: int = 0, average: bool = False) -> TrainState:
    adapter = make_adapter(LAYOUT, seed)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(f.pow(2).mean() for f in adapter(torch.ones(1, 1, 64, 64))).backward()
        optimizer.step()
    return TrainState(adapter, optimizer, make_adapter(LAYOUT, seed + 10) if average else None)


@pytest.mark.parametrize("average", [False, True])
def test_newest_checkpoint_gives_back_every_bit(tmp_path: Path, average: bool) -> None:
    save_checkpoint(tmp_path, TrainProgress(99, 0, 1, 1.0), _trained(1, average=average), 2)
    train_state = _trained(3, average=average)
    state = TrainProgress(step=1_000_000, epoch=2, position=5, seconds=1.5, scaler=SCALER)
    save_checkpoint(tmp_path, state, train_state, 2)
    other = _trained(0, seed=1, average=average)
    assert resume(tmp_path, other, newest_step(tmp_path)) == state
    assert len(train_state.folders) == 1 + average
    for folder, adapter in train_state.folders.items():
        for name, tensor in adapter.state_dict().items():
            assert torch.equal(other.folders[folder].state_dict()[name], tensor)
    expected, found = train_state.optimizer.state_dict(), other.optimizer.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for parameter, entries in expected["state"].items():
        for name, value in entries.items():
            assert torch.equal(found["state"][parameter][name], value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0.0},
        {"scale": "x"},
        {"scale": 1e300},
        {"growth_interval": True},
        {"_growth_tracker": -1},
        {"growth_factor": None},
        {"more": 1},
    ],
)
def test_a_scale_of_gradients_that_is_none_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert {**SCALER, **wrong} != SCALER
    save_checkpoint(tmp_path, TrainProgress(1, scaler={**SCALER, **wrong}), _trained(1), 1)
    rule, way_out = (
        r"state\.json: scaler must be what torch's GradScaler keeps",
        r"; delete .*/checkpoints/000001, and",
    )
    with pytest.raises(RequestError, match=rf"{rule}, not \{{.*{way_out}"):
        resume(tmp_path, _trained(0), 1)


def test_the_way_out_of_a_torn_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TrainProgress(1), _trained(1), 1)
    (tmp_path / "checkpoints/000001/optimizer.safetensors").write_bytes(b"torn")
    with pytest.raises(RequestError, match=r"no safetensors file: .*; delete .*/checkpoints/000001, and"):
        discard_not_finite(tmp_path)


@pytest.mark.parametrize(("keep", "kept"), [(1, ["1000000"]), (2, ["1000000", "999999"])])
def test_newest_checkpoints_are_kept(tmp_path: Path, keep: int, kept: list[str]) -> None:
    for step in (999_998, 999_999, 1_000_000):
        save_checkpoint(tmp_path, TrainProgress(step), _trained(1), keep)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == kept


def test_discarded_checkpoints_are_not_resumed(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, TrainProgress(step), _trained(1), 2)
    discard_checkpoints(tmp_path)
    assert os.listdir(tmp_path) == []
    assert resume(tmp_path, _trained(0), newest_step(tmp_path)) == TrainProgress()


def test_run_without_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    assert resume(tmp_path, _trained(0), newest_step(tmp_path)) == TrainProgress()


def test_unfinished_checkpoint_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, TrainProgress(step=1), _trained(1), 2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, TrainProgress(step=2), _trained(2), 2)
    assert resume(tmp_path, _trained(0), newest_step(tmp_path)).step == 1


def test_changed_request_is_refused_by_name(tmp_path: Path) -> None:
    claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 8})
    claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 8})
    with pytest.raises(RequestError, match="begun with batch 8, and this command asks for 4"):
        claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 4})


def test_another_folder_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine").write_text("kept")
    with pytest.raises(RequestError, match=r"holds adapter but no run\.json: give another --out"):
        claim_run(tmp_path, {"lr": 1e-5})
    assert os.listdir(tmp_path) == ["adapter"]


def test_checkpoints_behind_a_link_are_neither_made_nor_removed(tmp_path: Path) -> None:
    others, run = tmp_path / "others", tmp_path / "run"
    run.mkdir()
    save_checkpoint(others, TrainProgress(1), _trained(1), 2)
    (run / "checkpoints").symlink_to(others / "checkpoints")
    with pytest.raises(RequestError, match=r"run/checkpoints must be a folder, and is a link to .*--out on it$"):
        newest_step(run)


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "100 copy").mkdir(parents=True)
    assert newest_step(tmp_path) == 0
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, TrainProgress(step), _trained(1), 1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000003", "100 copy"]
