"""Extract: an images shard becomes one shard of each asked condition, in one pass over its pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from extractors.base import Extractor, Resources
from extractors.registry import UnknownCondition, make_extractor
from extractors.weights import WeightsDamaged, WeightsUnavailable
from pipeline.commit import load_receipt, publish
from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import RequestError
from pipeline.image import Picture, decode_rgb, use_threads
from pipeline.receipt import Receipt
from pipeline.sample import Sample
from pipeline.stage import Fuse, Made, Stopwatch, describe_error, refuse_total_failure


@dataclass(frozen=True)
class Condition:
    """A column to be made: which extractor fills it, and under which recipe."""

    column: str
    condition: str
    variant: str
    recipe: str


@dataclass
class _Column:
    """The maps of one shard, and the samples that have none."""

    samples: dict[str, Sample] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    # The extractor's time, and an equal share of the decoding, which all columns have in common.
    seconds: float = 0.0


@dataclass
class Extract:
    """Stage: images shard -> a shard of every condition that lacks it.

    batch: pictures that an extractor is given at once, at most; it never changes the result. device: where
    the networks run ("cpu", "cuda").
    """

    dataset: Dataset
    conditions: Sequence[Condition]
    resources: Resources
    weights: Path | None = None
    batch: int = 8
    device: str = "cpu"

    def setup(self) -> None:
        use_threads(self.resources.cpus)
        # One each: an extractor that works must not hide that another never does.
        self.fuses = {made.column: Fuse() for made in self.conditions}
        self.extractors: dict[str, Extractor] = {}
        for made in self.conditions:
            extractor = make_extractor(made.condition, made.variant, self.weights)
            extractor.load(self.device)
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

    def _extract(self, samples: Sequence[Sample], names: Sequence[str]) -> Mapping[str, _Column]:
        columns = {name: _Column() for name in names}
        watch = Stopwatch()
        for keys, pictures in batch_pictures(samples, self.batch):
            share = watch.lap() / len(names)
            for name in names:
                self._extract_batch(name, columns[name], keys, pictures)
                columns[name].seconds += share + watch.lap()
        return columns

    def _extract_batch(self, name: str, column: _Column, keys: Sequence[str], pictures: np.ndarray) -> None:
        extractor = self.extractors[name]
        try:
            maps = extractor(pictures)
            encoded = [extractor.format.encode(m) for m in maps]
        except Exception as error:
            if len(keys) > 1:
                # One bad picture must not take its neighbours with it.
                for key, picture in zip(keys, pictures, strict=True):
                    self._extract_batch(name, column, [key], picture[None])
                return
            line = f"{keys[0]}: {describe_error(error)}"
            column.dropped[keys[0]] = f"failed ({type(error).__name__})"
            column.errors.append(line)
            self.fuses[name].fail(f"{name}: {line}")
            return
        for key, members in zip(keys, encoded, strict=True):
            column.samples[key] = Sample(key, members)
        self.fuses[name].succeed()

    def _commit(self, made: Condition, images: Receipt, samples: Sequence[Sample], column: _Column) -> Receipt:
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


def batch_pictures(samples: Sequence[Sample], size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """(keys, uint8 (N, H, W, 3) RGB) of pictures of one size, at most `size` together."""
    waiting: dict[tuple[int, ...], list[tuple[str, Picture]]] = defaultdict(list)
    for sample in samples:
        picture = decode_rgb(sample.members["jpg"])
        group = waiting[picture.shape]
        group.append((sample.key, picture))
        if len(group) == size:
            yield _stack(waiting.pop(picture.shape))
    for group in waiting.values():
        yield _stack(group)


def _stack(group: list[tuple[str, Picture]]) -> tuple[list[str], np.ndarray]:
    return [key for key, _ in group], np.stack([picture for _, picture in group])


def combine(resources: Sequence[Resources], device: str) -> Resources:
    """What a worker needs that holds all these extractors: they take turns on its cores and share one GPU."""
    return Resources(
        cpus=max(r.cpus for r in resources),
        gpus=min(1.0, sum(r.gpus for r in resources)) if device == "cuda" else 0.0,
        memory=sum(r.memory for r in resources),
    )


def plan_extract(
    dataset: Dataset,
    names: Sequence[str],
    *,
    variant: str = "default",
    weights: Path | None = None,
    column: str | None = None,
    batch: int = 8,
    device: str = "cpu",
) -> Extract:
    """The stage for these conditions, its columns begun; `column` renames the only one.

    Raises RequestError for an unknown condition, weights that cannot be had, or a column of another recipe.
    """
    if column is not None and len(names) != 1:
        raise RequestError(f"--as names one column, so --conditions must name one condition, not {len(names)}")
    if not names:
        raise RequestError("--conditions must name at least one condition, none was given")
    if batch < 1:
        raise RequestError(f"--batch must be at least 1, not {batch}")
    recipes, resources = {}, []
    for name in dict.fromkeys(names):
        try:
            extractor = make_extractor(name, variant, weights)
            recipes[name] = extractor.recipe()
        except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
            raise RequestError(str(error)) from None
        resources.append(extractor.resources)
    # No column is begun before all of the request is known to be right.
    conditions = [
        Condition(column or name, name, variant, dataset.claim(column or name, recipe))
        for name, recipe in recipes.items()
    ]
    # A worker of a cluster stands in another folder than the command.
    weights = weights and weights.absolute()
    return Extract(dataset, conditions, combine(resources, device), weights, batch, device)
