from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
import torch

from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.jobs.launch.restarts import WorkerDied, absolute_config, judge, keep_trying, refuse_more_than, work
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from tests.adapters.toys import train_config


def _summary(steps: int, new_steps: int) -> TrainSummary:
    return TrainSummary(steps, new_steps, 8 * steps, 1.0, 0.2, 0.1, "adapter", "0" * 64)


def _config(out: Path) -> TrainConfig:
    return train_config(roots=("data",), condition="sketch", out=out)


class Attempts:
    """Attempts that end in the given ways, one after the other; each leaves a checkpoint ten steps further."""

    def __init__(self, *ends: Exception | TrainSummary) -> None:
        self._ends, self.made = ends, 0

    def __call__(self, config: TrainConfig, workers: int) -> TrainSummary:
        end = self._ends[self.made]
        self.made += 1
        (config.out / "checkpoints" / f"{10 * self.made:06d}").mkdir(parents=True)
        if isinstance(end, Exception):
            raise end
        return end


def test_a_death_is_followed_by_another_attempt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts(WorkerDied("worker 1 died (SIGKILL)"), _summary(50, 40))
    with caplog.at_level(logging.WARNING):
        summary = keep_trying(attempts, _config(tmp_path), workers=2, retries=1)
    assert caplog.messages == ["worker 1 died (SIGKILL); all start again from step 10 (1 of 1)"]
    assert summary == _summary(50, 50), "the steps of both attempts are those of this command"


def test_a_worker_that_keeps_dying_ends_it(tmp_path: Path) -> None:
    attempts = Attempts(*(WorkerDied("worker 0 died (SIGSEGV)") for _ in range(9)))
    line = (
        r"worker 0 died \(SIGSEGV\); started 3 times in all; step 30 was reached, and the same command continues "
        "from there"
    )
    with pytest.raises(IncompleteError, match=f"^{line}$"):
        keep_trying(attempts, _config(tmp_path), workers=2, retries=2)
    assert attempts.made == 3


@pytest.mark.parametrize("error", [RequestError("no such thing"), DamagedShard("gone")])
def test_what_another_attempt_cannot_mend_ends_it_at_once(tmp_path: Path, error: Exception) -> None:
    attempts = Attempts(error, _summary(50, 50))
    with pytest.raises(type(error)):
        keep_trying(attempts, _config(tmp_path), workers=2, retries=3)
    assert attempts.made == 1


def test_the_cause_is_reported_and_not_its_consequences() -> None:
    torn, killed = RuntimeError("Connection closed\nby peer"), WorkerDied("SIGKILL")
    wrong, gone = RequestError("wrong"), DamagedShard("gone")
    assert judge({0: torn, 1: wrong}) is wrong
    assert judge({0: gone, 1: torn}) is gone
    assert judge({0: gone, 1: wrong}) is wrong
    for ends, line in (
        ({0: torn, 1: killed}, "worker 1 died (SIGKILL)"),
        ({0: torn}, "worker 0 died (RuntimeError: Connection closed by peer)"),
    ):
        verdict = judge(ends)
        assert isinstance(verdict, WorkerDied)
        assert str(verdict) == line


def test_workers_in_other_folders_find_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "tiny"):
        (tmp_path / name).mkdir()
    config = train_config(
        roots=("data", "s3://bucket/data"), condition="sketch", out=Path("run"), base="base", weights=Path("w")
    )
    placed = absolute_config(config, gpu=True)
    assert placed.data.roots == (str(tmp_path / "data"), "s3://bucket/data")
    assert (placed.out, placed.extractor.weights, placed.base.name) == (
        tmp_path / "run",
        tmp_path / "w",
        str(tmp_path / "base"),
    )
    assert (placed.data.cache, placed.texts.text_cache, placed.compute.device) == (None, None, "cuda")
    assert (
        absolute_config(train_config(roots=("data",), condition="sketch", out=Path("run")), gpu=False).base.name
        == "tiny"
    )
    assert absolute_config(config, gpu=False).compute.device == "cpu"


def test_workers_that_find_no_room_are_refused() -> None:
    refuse_more_than(2, 2, True, "this cluster")
    with pytest.raises(
        RequestError, match=r"^--workers 3 need a GPU each, and this cluster has 2; fewer, or --dev"
    ):
        refuse_more_than(2, 3, True, "this cluster")
    with pytest.raises(RequestError, match=r"^--workers 3 need a core each, and this cluster has 2$"):
        refuse_more_than(2, 3, False, "this cluster")


@pytest.mark.parametrize(
    ("raised", "kind"), [(DamagedShard, IncompleteError), (RequestError, RequestError), (OSError, OSError)]
)
def test_a_worker_names_what_another_attempt_cannot_mend(
    raised: type[Exception], kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(config: TrainConfig) -> TrainSummary:
        raise raised("gone")

    monkeypatch.setattr("t2i_shards.adapters.training.trainer.train", train)
    with pytest.raises(kind, match=r"^gone$") as caught:
        work(_config(tmp_path))
    assert caught.type is kind


def test_what_a_worker_logs_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: TrainConfig) -> TrainSummary:
        logging.getLogger("some.library").warning("at %s", "https://a:b@h/\x1b[2J")
        return _summary(4, 4)

    monkeypatch.setattr("t2i_shards.adapters.training.trainer.train", train)
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())  # as in a process that has just started
    monkeypatch.setattr(logging.getLogger("t2i_shards"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("some.library"), "propagate", False)
    work(_config(tmp_path))
    assert capsys.readouterr().err == "at https://\u2026@h/\\x1b[2J\n"


def test_a_workers_full_disk_is_no_death_to_start_again_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(config: TrainConfig) -> TrainSummary:
        raise OSError(errno.ENOSPC, "No space left on device", str(config.out))

    monkeypatch.setattr("t2i_shards.adapters.training.trainer.train", train)
    line = f"cannot write {tmp_path}: No space left on device; nothing that is done is lost"
    with pytest.raises(IncompleteError, match=f"^{line}$"):
        work(_config(tmp_path))


def test_a_workers_small_gpu_is_no_death_to_start_again_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(config: TrainConfig) -> TrainSummary:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("t2i_shards.adapters.training.trainer.train", train)
    with pytest.raises(IncompleteError, match=r"train with --gradient-checkpointing, .* or --micro-batch 1"):
        work(_config(tmp_path))
