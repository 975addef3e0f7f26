"""Which samples an adapter is evaluated on: those its training held out, where that can be known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from adapters.requests import EvaluateConfig
from extractors.registry import format_of
from pipeline.errors import RequestError
from pipeline.sample import Sample
from pipeline.stream import open_stream


@dataclass(frozen=True)
class Chosen:
    """samples: with the members that are needed. held_out: how many of them no training step saw; None when it is
    not known. digest: of the data. size: of the run's crops, None without a run.
    """

    samples: list[Sample]
    held_out: int | None
    digest: str
    size: int | None


def find_run(adapter: Path) -> Path | None:
    """The run's folder that the adapter lies in, or is."""
    return next((folder for folder in (adapter, adapter.parent) if (folder / "run.json").is_file()), None)


def choose_samples(config: EvaluateConfig) -> Chosen:
    """The first samples in the order of the training, of which the held out are the first. Raises RequestError."""
    run = find_run(config.adapter)
    begun: Mapping[str, Any] = json.loads((run / "run.json").read_text()) if run else {}
    if begun and begun["condition"] != config.condition:
        raise RequestError(f"{run} was trained on {begun['condition']}, and --condition is {config.condition}")
    stream = open_stream(config.root, config.columns, begun.get("seed", config.seed), buckets=_bucket_size(begun))
    if len(stream) < config.samples:
        raise RequestError(
            f"--samples {config.samples} must not exceed the {len(stream)} samples of {config.root}"
        )
    members = () if config.condition == "color" else format_of(config.condition).members
    samples = [_keep(sample, members, config) for sample in islice(stream.samples(0), config.samples)]
    held_out = _find_held_out(begun, config) if begun else None
    known = None if held_out is None else sum(sample.key in held_out for sample in samples)
    return Chosen(samples, known, stream.digest, begun.get("size"))


def _keep(sample: Sample, members: Sequence[str], config: EvaluateConfig) -> Sample:
    for member in members:
        if member not in sample.members:
            raise RequestError(
                f"--column {config.column or config.condition} must hold what --condition {config.condition} "
                f"needs, and {sample.key} has no {member}"
            )
    # Copied, or a whole shard would stay in memory for the sake of one sample.
    return Sample(sample.key, {name: bytes(sample.members[name]) for name in ("jpg", "json", *members)})


def _find_held_out(begun: Mapping[str, Any], config: EvaluateConfig) -> AbstractSet[str] | None:
    """The keys that the run held out, if its data is what stands at the root: its digest says so."""
    for columns in dict.fromkeys((config.columns, ())):  # with live conditions none is read
        for duplicates in (True, False):
            try:
                stream = open_stream(config.root, columns, begun["seed"], duplicates, buckets=_bucket_size(begun))
                rest, held_out = stream.hold_out(begun["validation"])
            except RequestError:
                continue
            if rest.digest == begun["data"]:
                return {sample.key for sample in held_out}
    return None


def _bucket_size(begun: Mapping[str, Any]) -> int | None:
    """Samples per batch of one size, on which the order depends; None without buckets."""
    return begun["batch"] if begun.get("buckets") else None
