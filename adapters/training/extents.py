"""RUN/extents.json: what decided the order when a run was begun, and what was removed while it was under way.

The order of the samples is a function of what there was at the start. `remove` and `retry` change a dataset later;
the run keeps its order, and the place of a removed sample goes to its neighbour.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from t2i_shards.adapters.records import read_record
from t2i_shards.adapters.run_folder import read_begun
from t2i_shards.adapters.training.checkpoint import newest_step
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.data import open_samples
from t2i_shards.extractors.atomic import write_json
from t2i_shards.extractors.records import Count
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.stream import (
    Extent,
    Lanes,
    choose_lanes,
    count_readers,
    divide_batch,
    find_better,
    measure_extent,
)

NAME = "extents.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removed:
    """From this step on so many samples were no longer there."""

    step: Count
    samples: Count


@dataclass(frozen=True)
class Noted:
    """What the file holds. begun: how much there was of each dataset. lanes: their number, one in older runs."""

    begun: tuple[Extent, ...] = ()
    removed: tuple[Removed, ...] = ()
    lanes: Count = 1


def find_begun(config: TrainConfig) -> Noted:
    """What is noted in RUN; for a new run, all there is at present.

    Raises RequestError where the run was begun with another number of lanes than is asked for.
    """
    noted = _read(config.out)
    if len(noted.begun) == len(config.data.roots):
        _check_lanes(config, noted)
        return noted
    datasets = [Dataset.open(root) for root in config.data.roots]
    present = [measure_extent(dataset) for dataset in datasets]
    record = read_begun(config.out)
    if record:
        older = Noted(tuple(_search(config, datasets, present, str(record.get("data"))) or present))
        _check_lanes(config, older)
        return older
    return Noted(tuple(present), lanes=_choose_lanes(config, present))


def _choose_lanes(config: TrainConfig, extents: Sequence[Extent]) -> int:
    if config.data.buckets:
        return 1
    return len(choose_lanes(config.optimizer.batch, [extent.shards for extent in extents], config.data.lanes))


def _check_lanes(config: TrainConfig, noted: Noted) -> None:
    if config.data.lanes is not None and _choose_lanes(config, noted.begun) != noted.lanes:
        raise RequestError(
            f"--lanes decides the order of the samples, and {config.out} was begun with {noted.lanes}: leave it "
            "out, or begin another --out"
        )


def _search(
    config: TrainConfig, datasets: Sequence[Dataset], present: Sequence[Extent], data: str
) -> Sequence[Extent] | None:
    """The extents whose order has this digest; None when there are none, and the data is another.

    For runs that were begun before extents were noted.
    """
    candidates = [
        [
            Extent(segment.numbers.stop, tombstones)
            for segment in reversed(dataset.segments)
            for tombstones in range(extent.stones, -1, -1)
        ]
        for dataset, extent in zip(datasets, present, strict=True)
    ]
    if all(len(extents) == 1 for extents in candidates):
        return None
    for extents in product(*candidates):
        with suppress(RequestError):  # a column may lack the shards that came later
            stream, _ = open_samples(config.data, config.seed, config.optimizer.batch, extents).hold_out(
                config.record.validation
            )
            if stream.digest == data:
                return extents
    return None


def advise_lanes(config: TrainConfig, begun: Noted, ranks: int) -> None:
    """Say so in a line, before a run is begun, where its processes would share shards and need not.

    Not where somebody chose the lanes.
    """
    batch, loaders = config.optimizer.batch, config.compute.loaders
    if read_begun(config.out) or config.data.lanes is not None or config.data.buckets or batch % ranks:
        return
    lanes = divide_batch(batch, begun.lanes) or Lanes(batch)
    better = find_better(lanes, [extent.shards for extent in begun.begun], ranks, loaders)
    if better:
        now, then = (count_readers(of, ranks, loaders) for of in (lanes, better))
        log.warning("%d processes read each shard; with --lanes %d it is %d", now, len(better), then)


def note_extents(run: Path, begun: Noted, removed: int) -> None:
    """Write down what the run was begun with, and that at its present step `removed` samples are no longer there.

    Says so in a line.
    """
    noted = _read(run)
    later = noted.removed
    if removed:
        log.warning(
            "%s removed from the data since %s was begun; others take their places",
            number_of(removed, "sample"),
            run,
        )
    if removed != (later[-1].samples if later else 0):
        later = (*later, Removed(newest_step(run), removed))
    new = Noted(begun.begun, later, begun.lanes)
    if new != noted:
        write_json(run / NAME, asdict(new))


def _read(run: Path) -> Noted:
    path = run / NAME
    return read_record(path, Noted) if path.exists() else Noted()
