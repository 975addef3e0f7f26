"""When all workers start again, and when they do not.

Ray Train and torch's launcher could start them again themselves, but would do so for a wrong request too, which
is wrong again. So each of them makes one attempt, and `keep_trying` decides what comes next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.jobs.small_gpu import SMALL_GPU, is_small_gpu
from t2i_shards.pipeline.errors import IncompleteError, RequestError, describe_error, describe_full_disk
from t2i_shards.pipeline.plain import number_of, show_logs_plain

log = logging.getLogger(__name__)

Attempt = Callable[[TrainConfig, int], TrainSummary]
"""Train with so many workers to the end. Raises RequestError, IncompleteError, and WorkerDied at a death."""


class WorkerDied(Exception):
    """Which worker, and of what, on one line."""


def keep_trying(attempt: Attempt, config: TrainConfig, workers: int, retries: int) -> TrainSummary:
    """Make attempts until one succeeds: after a death all workers continue from the last checkpoint in RUN.

    IncompleteError after the attempt number `retries` + 1.
    """
    from t2i_shards.adapters.training.checkpoint import newest_step

    begun = newest_step(config.out)
    for number in range(retries + 1):
        try:
            summary = attempt(config, workers)
        except WorkerDied as death:
            step = newest_step(config.out)
            if number == retries:
                raise IncompleteError(
                    f"{death}; started {number_of(retries + 1, 'time')} in all; step {step} was reached, and the "
                    "same command continues from there"
                ) from None
            log.warning("%s; all start again from step %d (%d of %d)", death, step, number + 1, retries)
        else:
            # A worker knows only of the steps since it was started.
            return replace(summary, new_steps=summary.steps - begun) if number else summary
    raise AssertionError("unreachable")


def judge(ends: Mapping[int, BaseException]) -> Exception:
    """What to raise when workers failed (rank -> what it raised): the cause, not what it led to."""
    for kind in (RequestError, IncompleteError):
        for error in ends.values():
            if isinstance(error, kind):
                return error
    # One that is gone tears the connections of the others, which then fail as well.
    rank, error = min(ends.items(), key=lambda end: (not isinstance(end[1], WorkerDied), end[0]))
    died = str(error) if isinstance(error, WorkerDied) else describe_error(error)
    return WorkerDied(f"worker {rank} died ({died})")


def absolute_config(config: TrainConfig, gpu: bool) -> TrainConfig:
    """The same with absolute paths, for workers in other folders, all on GPUs or all on CPUs."""
    from t2i_shards.adapters.base.load import name_base
    from t2i_shards.adapters.training.start import name_start

    def place(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    data, base, extractor, texts = config.data, config.base, config.extractor, config.texts
    roots = tuple(root if "://" in root else os.path.abspath(root) for root in data.roots)
    return replace(
        config,
        data=replace(data, roots=roots, cache=place(data.cache)),
        base=replace(base, name=name_base(base.name)),
        out=config.out.absolute(),
        start=name_start(config),
        extractor=replace(extractor, weights=place(extractor.weights)),
        texts=replace(texts, text_cache=place(texts.text_cache)),
        compute=replace(config.compute, device="cuda" if gpu else "cpu"),
    )


def refuse_more_than(slots: int, workers: int, gpu: bool, where: str) -> None:
    """RequestError when `workers` do not all find room."""
    if workers > slots:
        needs, instead = ("GPU", "; fewer, or --device cpu") if gpu else ("core", "")
        raise RequestError(f"--workers {workers} need a {needs} each, and {where} has {slots}{instead}")


def work(config: TrainConfig) -> TrainSummary:
    """What each worker does.

    Where a new attempt would not help, it raises RequestError or IncompleteError itself, no subclass: its starter
    recognises them by name.
    """
    from t2i_shards.adapters.training.trainer import train

    show_logs_plain()
    try:
        return train(config)
    except RequestError as error:
        raise RequestError(str(error)) from None
    except IncompleteError as error:
        raise IncompleteError(str(error)) from None
    except OSError as error:
        if full := describe_full_disk(error):
            raise IncompleteError(full) from None
        raise
    except Exception as error:
        if is_small_gpu(error):
            raise IncompleteError(SMALL_GPU) from None
        raise
