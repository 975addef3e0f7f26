from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from diffusers import T2IAdapter

from t2i_shards.adapters.base import Base, digest_base
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.training import loader
from t2i_shards.adapters.training import trainer as loop
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.example import make_example
from t2i_shards.adapters.training.trainer import Training, TrainSummary, train
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.runlog import LogLine, read_log
from tests.adapters.toys import MemoryStream, toy_config, toy_sample, toy_stream


def _adapter_bytes(run: Path) -> bytes:
    return (run / "adapter" / WEIGHTS).read_bytes()


def _stop_at(step: int) -> Any:
    def progress(line: LogLine) -> None:
        if line.step == step:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def finished(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainSummary]:
    """A run of 6 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("run") / "straight"
    return out, Training(toy_config(out), toy_stream(), tiny).run()


def test_diffusers_loads_the_finished_adapter(finished: tuple[Path, TrainSummary]) -> None:
    _, report = T2IAdapter.from_pretrained(finished[1].adapter, output_loading_info=True)
    assert not any(report.values())


def test_summary_says_what_was_done(tiny: Base, finished: tuple[Path, TrainSummary]) -> None:
    out, summary = finished
    assert (summary.steps, summary.new_steps, summary.samples) == (6, 6, 12)
    assert summary.base_digest == digest_base(tiny)
    lines = list(read_log(out / "log.jsonl"))
    assert [line.step for line in lines] == [0, 1, 2, 3, 4, 5, 6]
    assert [line.step for line in lines if line.validation is not None] == [0, 3, 6]
    assert summary.first_validation == lines[0].validation
    assert summary.last_validation == lines[-1].validation


# There are checkpoints at 2, 4 and 6, and the second epoch begins after step 5.
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5, 6])
def test_interrupted_run_ends_with_the_same_bits(
    tiny: Base, tmp_path: Path, finished: tuple[Path, TrainSummary], stop: int
) -> None:
    config = toy_config(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        Training(config, toy_stream(), tiny).run(_stop_at(stop))
    assert not (config.out / "adapter").exists()
    summary = Training(config, toy_stream(), tiny).run()
    assert summary.new_steps == 6 - stop // 2 * 2
    assert _adapter_bytes(config.out) == _adapter_bytes(finished[0])
    losses, expected = (
        [(line.step, line.loss, line.validation) for line in read_log(run / "log.jsonl")]
        for run in (config.out, finished[0])
    )
    assert losses == expected


def test_three_epochs_that_stop_at_every_step_end_with_the_same_bits(tiny: Base, tmp_path: Path) -> None:
    def config(out: Path) -> TrainConfig:
        return toy_config(out, steps=15, checkpoint_every=1)

    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    Training(config(straight), toy_stream(), tiny).run()
    epoch, _ = toy_stream().hold_out(config(straight).record.validation)
    assert 15 * config(straight).optimizer.batch == 3 * len(epoch)
    for step in range(1, 15):
        with pytest.raises(KeyboardInterrupt):
            Training(config(stopped), toy_stream(), tiny).run(_stop_at(step))
    assert Training(config(stopped), toy_stream(), tiny).run().new_steps < 3
    assert _adapter_bytes(stopped) == _adapter_bytes(straight)
    assert [(line.step, line.loss, line.validation) for line in read_log(stopped / "log.jsonl")] == [
        (line.step, line.loss, line.validation) for line in read_log(straight / "log.jsonl")
    ]


@pytest.mark.parametrize("first", [3, 5])
def test_more_steps_continue_a_finished_run(
    tiny: Base, tmp_path: Path, finished: tuple[Path, TrainSummary], first: int
) -> None:
    for steps in (first, 6):
        summary = Training(toy_config(tmp_path / "run", steps=steps), toy_stream(), tiny).run()
    assert summary.new_steps == 6 - first
    assert _adapter_bytes(tmp_path / "run") == _adapter_bytes(finished[0])


def test_finished_run_has_nothing_left_to_do(tiny: Base, finished: tuple[Path, TrainSummary]) -> None:
    out, summary = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = Training(toy_config(out), toy_stream(), tiny).run()
    assert again.new_steps == 0
    assert again.last_validation == summary.last_validation
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "name"), [({"lr": 1e-2}, "lr"), ({"seed": 1}, "seed"), ({"adapter": "small"}, "adapter")]
)
def test_changed_request_is_refused_by_name(
    tiny: Base, finished: tuple[Path, TrainSummary], change: dict[str, Any], name: str
) -> None:
    with pytest.raises(RequestError, match=f"begun with {name} "):
        Training(toy_config(finished[0], **change), toy_stream(), tiny)


def test_changed_data_is_refused(tiny: Base, finished: tuple[Path, TrainSummary]) -> None:
    other = toy_stream()
    other.digest = "1" * 64
    with pytest.raises(RequestError, match="begun with other pictures, captions or conditions: "):
        Training(toy_config(finished[0]), other, tiny)


def test_checkpoints_do_not_change_the_result(
    tiny: Base, tmp_path: Path, finished: tuple[Path, TrainSummary]
) -> None:
    Training(toy_config(tmp_path, checkpoint_every=5, validate_every=1), toy_stream(), tiny).run()
    assert _adapter_bytes(tmp_path) == _adapter_bytes(finished[0])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000005", "000006"]


def test_finished_run_that_lost_its_adapter_makes_it_again(
    tiny: Base, tmp_path: Path, finished: tuple[Path, TrainSummary]
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(out / "adapter")
    assert Training(toy_config(out), toy_stream(), tiny).run().new_steps == 0
    assert _adapter_bytes(out) == _adapter_bytes(finished[0])


def test_older_summary_does_not_vouch_for_a_newer_adapter(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(toy_config(tmp_path, steps=1), toy_stream(), tiny).run()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            Training(toy_config(tmp_path, steps=2), toy_stream(), tiny).run()
    assert Training(toy_config(tmp_path, steps=1), toy_stream(), tiny).run().steps == 2


@pytest.mark.parametrize("stop", [5, 6])
def test_lost_log_costs_no_result(
    tiny: Base, tmp_path: Path, finished: tuple[Path, TrainSummary], stop: int
) -> None:
    config = toy_config(tmp_path)
    if stop == 6:
        shutil.copytree(finished[0] / "checkpoints", tmp_path / "checkpoints")
    else:
        with pytest.raises(KeyboardInterrupt):
            Training(config, toy_stream(), tiny).run(_stop_at(stop))
        (tmp_path / "log.jsonl").unlink()
    summary = Training(config, toy_stream(), tiny).run()
    assert summary.first_validation == finished[1].first_validation
    assert summary.last_validation == finished[1].last_validation
    assert _adapter_bytes(tmp_path) == _adapter_bytes(finished[0])


def test_column_that_holds_another_condition_is_refused(tiny: Base, tmp_path: Path) -> None:
    line = r"--column sketch must hold what --condition depth needs, and \d+ has no depth\.png"
    with pytest.raises(RequestError, match=line):
        Training(toy_config(tmp_path, condition="depth", column="sketch"), toy_stream(), tiny)


def test_base_that_changed_is_noticed_and_its_checkpoints_are_not_gone_on_from(tiny: Base, tmp_path: Path) -> None:
    bias = tiny.denoiser.conv_out.bias
    kept = bias.clone()

    def meddle(line: LogLine) -> None:
        bias[0] += 1e-3

    config = toy_config(tmp_path, steps=1)
    try:
        with pytest.raises(IncompleteError, match="the frozen base changed"):
            Training(config, toy_stream(), tiny).run(meddle)
    finally:
        bias.copy_(kept)
    assert not (tmp_path / "adapter").exists()
    steps: list[int] = []
    summary = Training(config, toy_stream(), tiny).run(lambda line: steps.append(line.step))
    assert steps == [0, 1]
    assert summary.new_steps == 1


def test_validation_samples_are_never_trained_on(tiny: Base, tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[tuple[str, str]] = []

    def watch(sample: Any, crop_config: Any, seed: int, visit: str) -> Any:
        seen.append((visit, sample.key))
        return make_example(sample, crop_config, seed, visit)

    monkeypatch.setattr(loader, "make_example", watch)
    training = Training(toy_config(tmp_path, steps=10, validate_every=10), toy_stream(12), tiny)
    training.run()
    held_out = {sample.key for sample in training.held_out}
    assert len(held_out) == 2
    for epoch in ("0", "1"):
        keys = sorted(key for visit, key in seen if visit == epoch)
        assert keys == sorted({f"{i:06d}" for i in range(12)} - held_out)


def test_dataset_that_validation_would_use_up_is_refused(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--validation 2 must leave samples to train on, and there are 2"):
        Training(toy_config(tmp_path), toy_stream(2), tiny)


def test_crop_is_the_shortest_side_by_default(tiny: Base, tmp_path: Path) -> None:
    stream = MemoryStream([toy_sample(index, size=200) for index in range(4)])
    assert Training(toy_config(tmp_path / "a"), stream, tiny).crop_config.size == 192
    assert Training(toy_config(tmp_path / "b", size=64), stream, tiny).crop_config.size == 64


def test_unknown_condition_is_refused() -> None:
    with pytest.raises(RequestError, match="smell"):
        train(toy_config(Path("run"), roots=("nowhere",), condition="smell"))


def test_validation_loss_falls_and_the_condition_is_what_counts(tiny: Base, tmp_path: Path) -> None:
    config = toy_config(
        tmp_path, adapter="base", steps=50, batch=4, lr=3e-3, validation=16, validate_every=50, checkpoint_every=50
    )
    lines: list[LogLine] = []
    summary = Training(config, toy_stream(80), tiny).run(lines.append)
    assert summary.last_validation < 0.85 * summary.first_validation
    last = lines[-1]
    assert last.mismatched is not None
    assert last.mismatched > 1.02 * summary.last_validation


def test_the_crop_fits_the_smallest_pictures_of_a_mix(tiny: Base, tmp_path: Path) -> None:
    """Those that are held out need not be among the smallest."""
    stream = MemoryStream([toy_sample(index, 128) for index in range(12)])
    stream.short_side = 64
    assert Training(toy_config(tmp_path / "smallest", size=None), stream, tiny).crop_config.size == 64
    with pytest.raises(
        RequestError, match="--size 128 must not exceed any picture, and there are some of 64 pixels"
    ):
        Training(toy_config(tmp_path / "larger", size=128), stream, tiny)
    assert not (tmp_path / "larger").exists(), "decided before a run is begun"
