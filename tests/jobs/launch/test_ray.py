"""Failures of Ray Train: those that mean that workers are gone, and all continue from the last checkpoint."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from t2i_shards.jobs.launch.ray import fit_in_thread
from t2i_shards.jobs.launch.restarts import WorkerDied


def test_workers_that_ray_killed_have_died_and_a_fault_stays_one() -> None:
    def failing(error: Exception) -> SimpleNamespace:
        def fit() -> None:
            raise error

        return SimpleNamespace(fit=fit)

    for gone in (OutOfMemoryError("1 worker(s) were killed\nas the node ran low on memory"), WorkerCrashedError()):
        with pytest.raises(WorkerDied, match=type(gone).__name__) as raised:
            fit_in_thread(failing(gone))
        assert "\n" not in str(raised.value)
    with pytest.raises(ZeroDivisionError):
        fit_in_thread(failing(ZeroDivisionError()))
    assert fit_in_thread(SimpleNamespace(fit=lambda: SimpleNamespace(return_value="summary"))) == "summary"
