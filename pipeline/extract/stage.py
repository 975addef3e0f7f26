"""The stage: decoding, the networks and encoding go on beside each other, each in the order of the shard."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from extractors.base import Extractor, Map, Resources
from extractors.batch import Batch, DeviceUnavailable
from extractors.compiled import compile_networks
from extractors.memory import free_memory, is_out_of_memory
from extractors.registry import make_extractor
from extractors.weights import WeightsDamaged
from pipeline.commit import load_receipt, publish
from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import IncompleteError, RequestError
from pipeline.extract.ahead import Behind, make_ahead
from pipeline.extract.column import Column, encode, take
from pipeline.extract.pictures import batch_pictures
from pipeline.image import use_threads
from pipeline.receipt import Receipt
from pipeline.sample import Sample
from pipeline.stage import Fuse, Made, Stopwatch, describe_error, refuse_total_failure

log = logging.getLogger(__name__)

AHEAD = 2
"""Batches that are decoded ahead of the networks, and as many that wait to be encoded behind them."""


@dataclass(frozen=True)
class Condition:
    """A column to be made: which extractor fills it, and under which recipe."""

    column: str
    condition: str
    variant: str
    recipe: str


@dataclass
class Extract:
    """Stage: images shard -> a shard of every condition that lacks it.

    batch: pictures that the extractors share at once, at most; it never changes the result. device: where the
    networks run ("cpu", "cuda"). compile: compile them. ahead: see AHEAD; 0 does one thing after the other.
    """

    dataset: Dataset
    conditions: Sequence[Condition]
    resources: Resources
    weights: Path | None = None
    batch: int = 8
    device: str = "cpu"
    compile: bool = False
    ahead: int = AHEAD

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        # One each: an extractor that works must not hide that another never does.
        self.fuses = {made.column: Fuse() for made in self.conditions}
        self.limits: dict[str, int | None] = {made.column: None for made in self.conditions}
        self.extractors: dict[str, Extractor] = {}
        for made in self.conditions:
            extractor = make_extractor(made.condition, made.variant, self.weights)
            try:
                extractor.load(self.device)
            except (WeightsDamaged, DeviceUnavailable) as error:
                raise RequestError(f"{made.column}: {error}") from None
            if self.compile:
                compile_networks(extractor)
            self.extractors[made.column] = extractor

    def __call__(self, shard: int) -> Made:
        finished = {c.column: load_receipt(self.dataset.store, c.column, shard) for c in self.conditions}
        missing = [c for c in self.conditions if finished[c.column] is None]
        receipts = {column: receipt for column, receipt in finished.items() if receipt}
        if not missing:
            return Made(receipts)
        images = load_receipt(self.dataset.store, IMAGES, shard)
        samples = self.dataset.load(IMAGES, shard, images)
        columns = self._extract(samples, [c.column for c in missing])
        errors = []
        for made in missing:
            column = columns[made.column]
            refuse_total_failure(len(column.samples), column.errors)
            errors += [f"{made.column}: {line}" for line in column.errors]
            assert images is not None
            receipts[made.column] = self._commit(made, images, samples, column)
        return Made(receipts, tuple(errors))

    def _extract(self, samples: Sequence[Sample], names: Sequence[str]) -> Mapping[str, Column]:
        columns = {name: Column(name, self.fuses[name]) for name in names}
        watch = Stopwatch()
        pictures = make_ahead(batch_pictures(samples, self.batch), self.ahead)
        threads = max(1, int(self.resources.cpus))
        with closing(pictures), Behind(take, threads, self.ahead * len(names)) as encoders:
            for keys, batch in pictures:
                share = watch.lap() / len(names)
                shared = batch if isinstance(batch, Exception) else Batch(batch)
                for name, column in columns.items():
                    maps = self._maps(name, shared, len(keys))
                    encoders.call(encode, column, self.extractors[name].format, keys, maps)
                    column.seconds += share + watch.lap()
        return columns

    def _maps(self, name: str, batch: Batch | Exception, count: int) -> Sequence[Map | Exception]:
        """A map for each picture of the batch, or why there is none."""
        if isinstance(batch, Exception):
            return [batch] * count
        try:
            return self._run(name, batch)
        except IncompleteError:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error.with_traceback(None)]  # whose frames hold the pictures
            # One bad picture must not take its neighbours with it.
            return [map for part in batch.split(1) for map in self._maps(name, part, 1)]

    def _run(self, name: str, batch: Batch) -> list[Map]:
        """The extractor on the batch, in smaller and smaller parts while the memory does not suffice.

        What did not fit once is not tried again. On the CPU parts change nothing; on a GPU a network that is
        given fewer pictures at once may round a grey level here and there to its neighbour.
        """
        while True:
            limit = self.limits[name]
            try:
                return [map for part in batch.split(limit, limit) for map in self.extractors[name](part)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = describe_error(error)
            # Outside the handler: while the error is held, so is all that its frames hold.
            free_memory()
            if limit == 1:
                height, width = batch.pictures.shape[1:3]
                raise IncompleteError(
                    f"{name}: out of memory on {self.device} with a single picture of {width}x{height}: {said}"
                )
            self.limits[name] = max(1, (limit or self.batch) // 2)
            log.warning("%s: out of memory, from now on at most %d at once", name, self.limits[name])

    def _commit(self, made: Condition, images: Receipt, samples: Sequence[Sample], column: Column) -> Receipt:
        return publish(
            self.dataset.store,
            [column.samples[sample.key] for sample in samples if sample.key in column.samples],
            column=made.column,
            shard=images.shard,
            planned=images.samples,
            recipe=made.recipe,
            input=images.sha256,
            drops=dict(Counter(column.dropped.values())),
            dropped=column.dropped,
            seconds=column.seconds,
        )
