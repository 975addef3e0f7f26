"""The stage: decoding, networks and encoding run concurrently, each in the order of the shard."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from t2i_shards.extractors.base import Extractor, Resources, compile_networks
from t2i_shards.extractors.batch import Batch, DeviceUnavailable, free_memory, is_out_of_memory
from t2i_shards.extractors.format import Format, Map
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.extractors.weights.file import WeightsDamaged
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import IncompleteError, RequestError, describe_error
from t2i_shards.pipeline.image.stored import Picture, decode_rgb, use_threads
from t2i_shards.pipeline.shards.commit import commit_samples, load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages.prefetch import OrderedThreadPool, prefetch
from t2i_shards.pipeline.stages.stage import FailureLimit, StageResult, Stopwatch, refuse_total_failure
from t2i_shards.pipeline.under_way import count_samples

Members: TypeAlias = Mapping[str, bytes] | Exception
"""A sample's members, or why it has none."""

log = logging.getLogger(__name__)

AHEAD = 2
"""Batches that are decoded ahead of the networks, and as many that wait to be encoded behind them."""


def batch_pictures(samples: Sequence[Sample], size: int) -> Iterator[tuple[list[str], np.ndarray | Exception]]:
    """(keys, uint8 (N, H, W, 3) RGB) of pictures of one size, at most `size` together.

    A picture that cannot be decoded comes alone, with the error in its place.
    """
    waiting: dict[tuple[int, ...], list[tuple[str, Picture]]] = defaultdict(list)
    for sample in samples:
        try:
            picture = decode_rgb(sample.members["jpg"])
        except Exception as error:  # one bad picture must not take the shard with it, whatever is wrong with it
            yield [sample.key], error
            continue
        group = waiting[picture.shape]
        group.append((sample.key, picture))
        if len(group) == size:
            yield _stack(waiting.pop(picture.shape))
    for group in waiting.values():
        yield _stack(group)


def _stack(group: list[tuple[str, Picture]]) -> tuple[list[str], np.ndarray]:
    return [key for key, _ in group], np.stack([picture for _, picture in group])


@dataclass
class Column:
    """One column of one shard as it fills.

    seconds: the extractor's own, and an equal share of the waiting for pictures, which all columns need.
    Encoding runs concurrently, and is not counted.
    """

    name: str
    failure_limit: FailureLimit
    samples: dict[str, Sample] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, key: str, members: Members) -> None:
        """The next sample, or why there is none. Raises BrokenStage after too many of the latter in a row."""
        if isinstance(members, Exception):
            line = f"{key}: {describe_error(members)}"
            self.dropped[key] = f"failed ({type(members).__name__})"
            self.errors.append(line)
            self.failure_limit.fail(f"{self.name}: {line}")
        else:
            self.samples[key] = Sample(key, members)
            self.failure_limit.succeed()


def encode(
    column: Column, form: Format, keys: Sequence[str], maps: Sequence[Map | Exception]
) -> tuple[Column, list[tuple[str, Members]]]:
    """What `take` takes; touches nothing of the column, so that it may run on any thread."""
    return column, [(key, _encode_one(form, condition_map)) for key, condition_map in zip(keys, maps, strict=True)]


def _encode_one(form: Format, condition_map: Map | Exception) -> Members:
    if isinstance(condition_map, Exception):
        return condition_map
    try:
        return form.encode(condition_map)
    except Exception as error:
        return error


def take(encoded: tuple[Column, list[tuple[str, Members]]]) -> None:
    """Put what `encode` gave into its column."""
    column, samples = encoded
    for key, members in samples:
        column.take(key, members)


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
    networks run ("cpu", "cuda"). compile: compile them. ahead: see AHEAD; 0 reads, extracts and writes in turn.
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
        self.failure_limits = {made.column: FailureLimit() for made in self.conditions}
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

    def __call__(self, shard: int) -> StageResult:
        finished = {c.column: load_receipt(self.dataset.store, c.column, shard) for c in self.conditions}
        missing = [c for c in self.conditions if finished[c.column] is None]
        receipts = {column: receipt for column, receipt in finished.items() if receipt}
        if not missing:
            return StageResult(receipts)
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
        return StageResult(receipts, tuple(errors))

    def _extract(self, samples: Sequence[Sample], names: Sequence[str]) -> Mapping[str, Column]:
        columns = {name: Column(name, self.failure_limits[name]) for name in names}
        watch = Stopwatch()
        pictures = prefetch(batch_pictures(samples, self.batch), self.ahead)
        threads = max(1, int(self.resources.cpus))
        with closing(pictures), OrderedThreadPool(take, threads, self.ahead * len(names)) as encoders:
            for keys, batch in pictures:
                share = watch.lap() / len(names)
                shared = batch if isinstance(batch, Exception) else Batch(batch)
                for name, column in columns.items():
                    maps = self._maps(name, shared, len(keys))
                    encoders.call(encode, column, self.extractors[name].format, keys, maps)
                    column.seconds += share + watch.lap()
                count_samples(len(keys))
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
            return [condition_map for part in batch.split(1) for condition_map in self._maps(name, part, 1)]

    def _run(self, name: str, batch: Batch) -> list[Map]:
        """The extractor on the batch, in smaller and smaller parts while the memory does not suffice.

        What did not fit once is not tried again. On the CPU parts change nothing; on a GPU a network that is
        given fewer pictures at once may round a grey level here and there to its neighbour.
        """
        while True:
            limit = self.limits[name]
            try:
                return [
                    condition_map
                    for part in batch.split(limit, limit)
                    for condition_map in self.extractors[name](part)
                ]
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
        return commit_samples(
            self.dataset.store,
            [column.samples[sample.key] for sample in samples if sample.key in column.samples],
            column=made.column,
            shard=images.shard,
            planned=images.samples,
            recipe=made.recipe,
            input_digest=images.identity,
            drops=dict(Counter(column.dropped.values())),
            dropped=column.dropped,
            seconds=column.seconds,
        )
