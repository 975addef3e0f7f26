"""Numbers that are not finite: a step with them is not taken, and nothing that holds them is kept or read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, save_adapter
from t2i_shards.adapters.run_folder import read_begun
from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.checkpoint import (
    TrainProgress,
    TrainState,
    newest_step,
    save_checkpoint,
    write_json,
)
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.loss import Objective
from t2i_shards.adapters.training.step import Step
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.adapters.training.validation import Validation
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.runlog import LogLine, read_log
from tests.adapters.toys import toy_config, toy_stream

Spoil = Callable[[torch.Tensor], torch.Tensor]
SPOILS: dict[str, Spoil] = {
    "loss": lambda loss: loss * torch.nan,
    "gradients": lambda loss: (loss.register_hook(lambda gradient: gradient * torch.inf), loss)[1],
}


def _spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int], spoil: Spoil) -> None:
    """Of these training steps, counted from 1."""
    real, plain = Objective.loss, Step.__call__
    at = {"step": 0}

    def call(step: Step, batches: Any) -> float:
        at["step"] += 1
        return plain(step, batches)

    def loss(objective: Objective, adapter: Any, noisy: Any) -> torch.Tensor:
        found = real(objective, adapter, noisy)
        return spoil(found) if torch.is_grad_enabled() and at["step"] in steps else found

    monkeypatch.setattr(Step, "__call__", call)
    monkeypatch.setattr(Objective, "loss", loss)


def _run(config: TrainConfig, base: Base, weights: dict[int, torch.Tensor] | None = None) -> TrainSummary:
    """weights: filled with those after each step."""
    training = Training(config, toy_stream(), base)

    def note(line: LogLine) -> None:
        if weights is not None:
            weights[line.step] = torch.cat([p.detach().flatten() for p in training.adapter.parameters()])

    return training.run(note)


def _strict(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"bare {name}"))


def _adapter_bytes(run: Path) -> bytes:
    return (run / "adapter" / WEIGHTS).read_bytes()


@pytest.mark.parametrize("what", SPOILS)
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    what: str, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, {3, 4}, SPOILS[what])
    weights: dict[int, torch.Tensor] = {}
    summary = _run(toy_config(tmp_path, ema=0.5), tiny, weights)
    assert torch.equal(weights[2], weights[4])
    assert not torch.equal(weights[4], weights[5])
    assert all(torch.isfinite(of).all() for of in weights.values())
    assert summary.skipped == 2
    lines = [_strict(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 0, 0, 1, 2, 2, 2]
    assert [line["loss"] is None for line in lines] == [True, False, False, *[what == "loss"] * 2, False, False]
    assert _strict((tmp_path / "summary.json").read_text())["skipped"] == 2


def test_ten_in_a_row_end_the_training_and_no_good_checkpoint_is_lost(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path, steps=20)
    _spoil(monkeypatch, set(range(3, 99)), SPOILS["loss"])
    weights: dict[int, torch.Tensor] = {}
    with pytest.raises(
        IncompleteError, match="not finite in 10 steps in a row, the last was step 12: try a lower"
    ):
        _run(config, tiny, weights)
    assert torch.equal(weights[2], weights[12])
    assert not (tmp_path / "adapter").exists()
    # The count is kept in the checkpoint, so that repeating the command does not continue ten steps at a time.
    with pytest.raises(IncompleteError, match="in 11 steps in a row, the last was step 13"):
        _run(config, tiny)


def test_a_validation_that_is_not_finite_at_the_start_is_refused(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "measure", lambda *_: float("nan"))
    with pytest.raises(RequestError, match="must be finite before the first step"):
        _run(toy_config(tmp_path), tiny)


def test_a_validation_that_is_not_finite_at_the_end_gives_no_adapter(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(toy_config(tmp_path, steps=2), tiny)
    before = _adapter_bytes(tmp_path)
    monkeypatch.setattr(Validation, "measure", lambda *_: float("inf"))
    with pytest.raises(IncompleteError, match="loss after step 4 is not finite, and no adapter is written"):
        _run(toy_config(tmp_path, steps=4), tiny)
    assert _adapter_bytes(tmp_path) == before
    assert (tmp_path / "summary.json").exists()
    assert _strict((tmp_path / "log.jsonl").read_text().splitlines()[-1])["validation"] is None


@pytest.mark.parametrize("what", ["adapter", "average", "optimizer"])
def test_a_checkpoint_that_is_not_finite_is_not_kept(what: str, tiny: Base, tmp_path: Path) -> None:
    training = Training(toy_config(tmp_path, ema=0.5), toy_stream(), tiny)
    optimizer = torch.optim.Adam(training.adapter.parameters())
    sum(p.sum() for p in training.adapter.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    train_state = TrainState(training.adapter, optimizer, training.result)
    save_checkpoint(tmp_path, TrainProgress(step=1), train_state, keep=1)
    spoiled = {
        "adapter": next(training.adapter.parameters()),
        "average": next(training.result.parameters()),
        "optimizer": next(iter(optimizer.state.values()))["exp_avg_sq"],
    }
    spoiled[what].detach().view(-1)[0] = torch.inf
    with pytest.raises(IncompleteError, match=r"holds numbers that are not finite \(.*\), and is not kept"):
        save_checkpoint(tmp_path, TrainProgress(step=2), train_state, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000001"]
    if what == "adapter":
        with pytest.raises(IncompleteError, match="the adapter holds numbers that are not finite"):
            save_adapter(training.adapter, tmp_path)


def test_an_adapter_that_is_not_finite_is_not_read(tiny: Base, tmp_path: Path) -> None:
    training = Training(toy_config(tmp_path / "run"), toy_stream(), tiny)
    save_adapter(training.adapter, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(RequestError, match=f"cannot be used: {name} holds numbers that are not finite"):
        read_adapter(tmp_path)


def _as_it_was_before(run: Path) -> None:
    """The files of a run as they were written before steps were skipped and gradients clipped."""
    record = dict(read_begun(run) or {})
    del record["clip"]
    write_json(run / "run.json", record)
    for path in run.glob("checkpoints/*/state.json"):
        state = json.loads(path.read_text())
        write_json(path, {name: state[name] for name in ("step", "epoch", "position", "seconds", "scaler")})


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default bound that every step of a toy is above."""
    monkeypatch.setattr("t2i_shards.adapters.training.identity.CLIP", 1e-4)


@pytest.mark.usefixtures("tight")
def test_an_earlier_run_resumes_to_the_same_bits_by_its_own_rule(tiny: Base, tmp_path: Path) -> None:
    for out, asked in (("clipped", {}), ("plain", {"clip": 0.0})):
        _run(toy_config(tmp_path / out, **asked), tiny)
    assert _adapter_bytes(tmp_path / "clipped") != _adapter_bytes(tmp_path / "plain"), "nothing was clipped"
    _run(toy_config(tmp_path / "old", steps=4, clip=0.0), tiny)
    _as_it_was_before(tmp_path / "old")
    _run(toy_config(tmp_path / "old"), tiny)
    assert _adapter_bytes(tmp_path / "old") == _adapter_bytes(tmp_path / "plain")
    told = [[(line.step, line.loss) for line in read_log(tmp_path / of / "log.jsonl")] for of in ("old", "plain")]
    assert told[0] == told[1]
    with pytest.raises(RequestError, match=r"begun with clip None, and this command asks for 1\.0"):
        _run(toy_config(tmp_path / "old", clip=1.0), tiny)


@pytest.mark.usefixtures("tight")
def test_a_checkpoint_of_before_that_is_not_finite_is_not_gone_on_from(
    tiny: Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(toy_config(tmp_path / "straight"), tiny)
    _run(toy_config(tmp_path / "spoiled", steps=4), tiny)
    weights = tmp_path / "spoiled" / "checkpoints" / "000004" / "adapter" / WEIGHTS
    save_file({name: tensor * torch.nan for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    log = tmp_path / "spoiled" / "log.jsonl"
    log.write_text(re.sub('("step": 1, "loss": )[^,]+', r"\1NaN", log.read_text()))
    assert newest_step(tmp_path / "spoiled") == 4
    _run(toy_config(tmp_path / "spoiled"), tiny)
    assert _adapter_bytes(tmp_path / "spoiled") == _adapter_bytes(tmp_path / "straight")
    assert [_strict(line)["loss"] is None for line in log.read_text().splitlines()] == [True] * 2 + [False] * 5
    assert "checkpoints/000004 holds numbers that are not finite (adapter/" in caplog.text


def test_clipping_scales_the_gradients_to_the_bound_and_no_further(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: dict[float, list[float]] = {}
    plain = torch.optim.Adam.step

    def note(optimizer: torch.optim.Adam, *given: Any) -> Any:
        gradients = [p.grad for p in optimizer.param_groups[0]["params"]]
        norms.setdefault(bound, []).append(float(torch.nn.utils.get_total_norm(gradients)))
        return plain(optimizer, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", note)
    for bound in (0.0, 1e-4, 1.0):
        _run(toy_config(tmp_path / str(bound), steps=2, clip=bound), tiny)
    assert max(norms[0.0]) < 1
    assert norms[1e-4] == pytest.approx([1e-4] * 2, rel=0.02)
    assert _adapter_bytes(tmp_path / "1.0") == _adapter_bytes(tmp_path / "0.0")
