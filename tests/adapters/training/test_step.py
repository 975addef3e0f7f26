"""The ways in which a step may be computed differently, and still give the same result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.optimization import get_scheduler
from safetensors.torch import load_file

from t2i_shards.adapters.base import Base, load_base
from t2i_shards.adapters.base.load import DTYPES
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, load_adapter
from t2i_shards.adapters.training.config import OptimizerConfig, RateSchedule, TrainConfig
from t2i_shards.adapters.training.setup import open_base
from t2i_shards.adapters.training.step import Ema, check_warmup, learning_rate
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.runlog import LogLine, read_log
from tests.adapters.toys import toy_config, toy_stream

STEPS = 20


@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("constant", 5), ("cosine", 0), ("cosine", 5)])
def test_rates_are_those_of_diffusers_scripts(schedule: RateSchedule, warmup: int) -> None:
    """Theirs warm up from 0, ours from the first part of the rate: after the warm-up they are equal."""
    config = OptimizerConfig(lr=1e-3, lr_schedule=schedule, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS)
    for step in range(STEPS):
        ours = learning_rate(config, step, STEPS)
        if step < warmup:
            assert ours == pytest.approx(theirs.get_last_lr()[0] + config.lr / warmup)
        else:
            assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_a_warmup_must_end_before_the_training() -> None:
    with pytest.raises(RequestError, match="--warmup-steps must be below the 20 steps of the training, not 20"):
        check_warmup(OptimizerConfig(warmup_steps=20), STEPS)
    check_warmup(OptimizerConfig(warmup_steps=19), STEPS)


def test_the_log_has_the_rate_that_each_step_was_taken_with(tiny: object, tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=4, lr=1e-3, warmup_steps=2, lr_schedule="cosine")
    Training(config, toy_stream(), tiny).run()  # type: ignore[arg-type]
    assert [line.lr for line in read_log(tmp_path / "log.jsonl")] == pytest.approx([None, 5e-4, 1e-3, 1e-3, 5e-4])


def _train(config: TrainConfig, base: Base) -> list[float]:
    """The losses."""
    Training(config, toy_stream(), base).run()
    return [line.loss for line in read_log(config.out / "log.jsonl") if line.loss is not None]


def _forget(module: torch.nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.zero_()


def _weights(out: Path) -> Mapping[str, torch.Tensor]:
    return load_file(out / "adapter" / WEIGHTS)


def _assert_close(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=atol)


def test_micro_batches_add_up_to_the_batch(tiny: Base, tmp_path: Path) -> None:
    losses = {
        micro: _train(toy_config(tmp_path / str(micro), batch=4, steps=2, micro_batch=micro), tiny)
        for micro in (4, 2, 1)
    }
    for micro in (2, 1):
        assert losses[micro] == pytest.approx(losses[4], abs=1e-5)
        _assert_close(_weights(tmp_path / str(micro)), _weights(tmp_path / "4"), 1e-5)


@pytest.fixture(scope="module", params=["fp16", "bf16"])
def halved(request: pytest.FixtureRequest) -> tuple[str, Base]:
    """(precision, the tiny base in it)"""
    return request.param, load_base("tiny", "cpu", DTYPES[request.param])


def test_half_precision_keeps_the_adapters_weights_whole(
    halved: tuple[str, Base], tiny: Base, tmp_path: Path
) -> None:
    precision, base = halved
    config = toy_config(tmp_path / "half", precision=precision, steps=2)
    training = Training(config, toy_stream(), base)
    assert base.dtype == DTYPES[config.base.precision]
    first = copy.deepcopy(training.adapter.state_dict())
    products: set[torch.dtype] = set()
    training.adapter.body[0].register_forward_hook(lambda module, given, made: products.add(made.dtype))
    training.run()
    assert products == {DTYPES[config.base.precision]}
    losses = [line.loss for line in read_log(config.out / "log.jsonl")][1:]
    expected = _train(toy_config(tmp_path / "full", steps=2), tiny)
    assert losses == pytest.approx(expected, rel=0.05), "rounded, and not another loss"
    assert losses != expected
    assert all(weight.dtype == torch.float32 for weight in _weights(config.out).values())
    for name, weight in training.adapter.state_dict().items():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, first[name])
        assert not torch.equal(weight, weight.to(DTYPES[config.base.precision]).float()), "on a coarse grid"


def test_half_precision_resumes_to_the_same_bits(halved: tuple[str, Base], tmp_path: Path) -> None:
    precision, base = halved
    _train(toy_config(tmp_path / "straight", precision=precision, steps=2), base)
    for steps in (1, 2):
        losses = _train(toy_config(tmp_path / "stopped", precision=precision, steps=steps), base)
    assert losses == [line.loss for line in read_log(tmp_path / "straight" / "log.jsonl")][1:]
    _assert_close(_weights(tmp_path / "stopped"), _weights(tmp_path / "straight"), 0)


def test_the_scale_of_fp16_is_taken_up_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that overflows halves the scale, and the step is left out; the next command must know."""
    base = load_base("tiny", "cpu", torch.float16)
    scales: list[float] = []
    update = torch.amp.GradScaler.update

    def note(scaler: torch.amp.GradScaler, *given: Any) -> None:
        update(scaler, *given)
        scales.append(scaler.get_scale())

    monkeypatch.setattr(torch.amp.GradScaler, "update", note)
    begin = partial(torch.amp.GradScaler, init_scale=2.0**40)
    monkeypatch.setattr(torch.amp, "GradScaler", begin)
    _train(toy_config(tmp_path, precision="fp16", steps=4), base)
    assert scales == [2.0**39, 2.0**38, 2.0**37, 2.0**36], "nothing overflowed; nothing was tested"
    _train(toy_config(tmp_path, precision="fp16", steps=6), base)
    assert scales[4:] == [2.0**35, 2.0**34]


def test_the_average_is_that_of_the_weights_after_each_step(tiny: Base, tmp_path: Path) -> None:
    config = toy_config(tmp_path, ema=0.6, steps=6)
    training = Training(config, toy_stream(), tiny)
    after: list[dict[str, torch.Tensor]] = []

    def note(line: LogLine) -> None:
        after.append({name: p.detach().clone() for name, p in training.adapter.named_parameters()})

    training.run(note)
    average = after[0]
    for step, weights in enumerate(after[1:], 1):
        decay = min(0.6, step / (step + 10))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
    found = dict(training.result.named_parameters())
    _assert_close(found, average, 1e-6)
    assert any(not torch.equal(found[name], after[-1][name]) for name in found)
    exported = copy.deepcopy(training.result)
    load_adapter(exported.requires_grad_(False).apply(_forget), tmp_path / "adapter")
    _assert_close(exported.state_dict(), found, 0)


def test_gradient_checkpointing_changes_nothing_but_the_memory(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "checkpointed", gradient_checkpointing=True, steps=3)
    base = open_base(config.base, torch.device("cpu"))
    called: list[object] = []

    def count(recompute: Callable[..., Any], *given: Any, **options: Any) -> Any:
        called.append(given[0])
        return recompute(*given, **options)

    for module in base.denoiser.modules():
        recompute = getattr(module, "_gradient_checkpointing_func", None)
        if recompute is not None:
            monkeypatch.setattr(module, "_gradient_checkpointing_func", partial(count, recompute))
    losses = _train(config, base)
    assert called, "nothing was computed twice"
    assert losses == _train(toy_config(tmp_path / "plain", steps=3), tiny)
    _assert_close(_weights(tmp_path / "checkpointed"), _weights(tmp_path / "plain"), 1e-6)


def _adapter(value: float) -> Adapter:
    """All of whose weights are `value`."""
    adapter = make_adapter(adapter_config_for("tiny", 1, (8, 8, 8, 8)), 0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.fill_(value)
    return adapter


def _values(ema: Ema) -> set[float]:
    return {value for parameter in ema.adapter.parameters() for value in parameter.unique().tolist()}


def test_the_average_follows_the_weights_by_its_decay() -> None:
    ema = Ema(_adapter(0.0), 0.75)
    ema.update(_adapter(1.0), step=1000)
    assert _values(ema) == {0.25}
    ema.update(_adapter(1.0), step=1001)
    assert _values(ema) == {0.4375}


def test_in_the_first_steps_it_follows_faster() -> None:
    """By the rule min(decay, step / (step + 10)), else it would hold the first weights for long."""
    ema = Ema(_adapter(0.0), 0.999)
    ema.update(_adapter(1.0), step=1)
    (value,) = _values(ema)
    assert value == pytest.approx(10 / 11)


def test_it_is_a_copy_that_learns_nothing_and_changes_nothing() -> None:
    adapter = _adapter(1.0)
    ema = Ema(adapter, 0.5)
    ema.update(_adapter(3.0), step=1000)
    assert not any(parameter.requires_grad for parameter in ema.adapter.parameters())
    assert {value for p in adapter.parameters() for value in p.unique().tolist()} == {1.0}
    assert all(parameter.requires_grad for parameter in adapter.parameters())
