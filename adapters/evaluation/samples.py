"""Which samples an adapter is evaluated on: those its training held out, where that can be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from t2i_shards.adapters.evaluation.config import SAMPLES, EvaluateConfig
from t2i_shards.adapters.held_out import find_held_out
from t2i_shards.adapters.records import read_record
from t2i_shards.extractors.records import Positive
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import Stream, open_stream


@dataclass(frozen=True)
class EvalSamples:
    """samples: with the members that are needed. held_out: how many of them no training step saw; None when it is
    not known. digest: of the data. size: of the run's crops, None without a run.
    """

    samples: list[Sample]
    held_out: int | None
    digest: str
    size: int | None


@dataclass(frozen=True)
class Begun:
    """The entries of a run.json that decide on which samples its adapter is evaluated."""

    condition: str
    seed: int
    size: Positive | None = None


def find_run(adapter: Path) -> Path | None:
    """The run's folder that the adapter lies in, or is."""
    return next((folder for folder in (adapter, adapter.parent) if (folder / "run.json").is_file()), None)


def choose_samples(config: EvaluateConfig) -> EvalSamples:
    """Those that the training held out, and others where more are asked for. Raises RequestError."""
    run = find_run(config.subject)
    begun = read_record(run / "run.json", Begun) if run else None
    if begun and begun.condition != config.condition:
        raise RequestError(f"{run} was trained on {begun.condition}, and --condition is {config.condition}")
    stream = open_stream(config.root, config.columns, begun.seed if begun else config.seed)
    known = find_held_out(run, Dataset.open(config.root)) if run else None
    # One that was removed since is not found.
    held_out = stream.find(known or ())
    count = config.samples or max(2, len(held_out) or min(SAMPLES, len(stream)))
    if len(stream) < count:
        raise RequestError(f"--samples {count} must not exceed the {len(stream)} samples of {config.root}")
    samples = chain(held_out[:count], _others(stream, held_out, count - len(held_out)))
    form = format_of(config.condition)
    members = () if form.from_crop else form.members
    return EvalSamples(
        [_keep(sample, members, config) for sample in samples],
        None if known is None else min(len(held_out), count),
        stream.digest,
        begun.size if begun else None,
    )


def _others(stream: Stream, held_out: Sequence[Sample], count: int) -> Iterator[Sample]:
    """So many more, the first in the order of the seed."""
    keys = {sample.key for sample in held_out}
    others = (sample for sample in stream.samples(0, ranks=1) if sample.key not in keys)
    return islice(others, max(0, count))


def _keep(sample: Sample, members: Sequence[str], config: EvaluateConfig) -> Sample:
    for member in members:
        if member not in sample.members:
            raise RequestError(
                f"--column {config.column or config.condition} must hold what --condition {config.condition} "
                f"needs, and {sample.key} has no {member}"
            )
    # Copied, or a whole shard would stay in memory for the sake of one sample.
    return Sample(sample.key, {name: bytes(sample.members[name]) for name in ("jpg", "json", *members)})
