from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from t2i_shards.jobs.launch.restarts import judge
from t2i_shards.jobs.launch.torchrun import prepare_here, read_deaths, read_ends
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from tests.adapters.toys import toy_config


def _write_end(folder: Path, rank: int, line: str) -> None:
    path = folder / "train_0" / "attempt_0" / str(rank) / "error.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"message": {"message": line, "extraInfo": {}}}))


def test_what_workers_raised_is_read_back(tmp_path: Path) -> None:
    _write_end(tmp_path, 0, "RequestError: --batch: no")
    _write_end(tmp_path, 1, "IncompleteError: gone")
    _write_end(tmp_path, 2, "RuntimeError: torn: by peer")
    ends = read_ends(tmp_path)
    assert isinstance(ends[0], RequestError)
    assert str(ends[0]) == "--batch: no"
    assert isinstance(ends[1], IncompleteError)
    assert str(judge({2: ends[2]})) == "worker 2 died (RuntimeError: torn: by peer)"


@pytest.mark.parametrize(("code", "line"), [(-signal.SIGKILL, "SIGKILL"), (1, "exit code 1")])
def test_a_silent_process_is_described_by_how_it_ended(code: int, line: str) -> None:
    failures: dict[int, Any] = {1: SimpleNamespace(exitcode=code)}
    assert str(judge(read_deaths(failures))) == f"worker 1 died ({line})"


def test_each_worker_has_a_gpu_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(device: Any, gpus: int, workers: int = 2) -> str:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        return prepare_here(toy_config(tmp_path, device=device), workers).compute.device

    assert [place("auto", 2), place("cuda", 3)] == ["cuda", "cuda"]
    assert [place("auto", 0), place("cpu", 2)] == ["cpu", "cpu"]
    for device, gpus in (("auto", 1), ("cuda", 1), ("cuda", 0)):
        with pytest.raises(RequestError, match=f"--workers 2 need a GPU each, and this machine has {gpus}"):
            place(device, gpus)
