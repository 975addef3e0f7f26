from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from adapters.adapter import make_adapter
from adapters.checkpoint import State, claim_run, commit_folder, discard_checkpoints, resume, save_checkpoint
from adapters.sizes import layout_for
from pipeline.errors import RequestError

LAYOUT = layout_for("tiny", 1, (32, 32, 32, 64))


def _trained(steps: int, seed: int = 0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    adapter = make_adapter(LAYOUT, seed)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(f.pow(2).mean() for f in adapter(torch.ones(1, 1, 64, 64))).backward()
        optimizer.step()
    return adapter, optimizer


def test_newest_checkpoint_gives_back_every_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, State(99, 0, 1, 1.0), *_trained(1))  # type: ignore[arg-type]
    adapter, optimizer = _trained(3)
    state = State(step=1_000_000, epoch=2, position=5, seconds=1.5)
    save_checkpoint(tmp_path, state, adapter, optimizer)  # type: ignore[arg-type]
    other, other_optimizer = _trained(0, seed=1)
    assert resume(tmp_path, other, other_optimizer) == state  # type: ignore[arg-type]
    for name, tensor in adapter.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    expected, found = optimizer.state_dict(), other_optimizer.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for parameter, entries in expected["state"].items():
        for name, value in entries.items():
            assert torch.equal(found["state"][parameter][name], value)


def test_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        save_checkpoint(tmp_path, State(step), *_trained(1))  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["1000000", "999999"]


def test_discarded_checkpoints_are_not_resumed(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, State(step), *_trained(1))  # type: ignore[arg-type]
    discard_checkpoints(tmp_path)
    assert os.listdir(tmp_path) == []
    assert resume(tmp_path, *_trained(0)) == State()  # type: ignore[arg-type]


def test_run_without_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    assert resume(tmp_path, *_trained(0)) == State()  # type: ignore[arg-type]


def _fail_half_way(final: Path) -> None:
    with commit_folder(final) as folder:
        (folder / "half").write_text("half")
        raise OSError("full")


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "000100"
    with pytest.raises(OSError, match="full"):
        _fail_half_way(final)
    assert not final.exists()
    with commit_folder(final) as folder:
        assert list(folder.iterdir()) == []
        (folder / "whole").write_text("whole")
        assert not final.exists()
    assert [path.name for path in final.iterdir()] == ["whole"]
    assert os.listdir(tmp_path) == ["000100"]


def test_unfinished_checkpoint_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, State(step=1), *_trained(1))  # type: ignore[arg-type]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, State(step=2), *_trained(2))  # type: ignore[arg-type]
    assert resume(tmp_path, *_trained(0)).step == 1  # type: ignore[arg-type]


def test_changed_request_is_refused_by_name(tmp_path: Path) -> None:
    claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 8})
    claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 8})
    with pytest.raises(RequestError, match="begun with batch 8, and this command asks for 4"):
        claim_run(tmp_path / "run", {"lr": 1e-5, "batch": 4})
