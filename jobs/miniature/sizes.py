"""Row 6: adapters of three sizes, trained alike."""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.adapters.options import AdapterName
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import TEXT_ALONE, GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.row import Case, Row, each_alone

SIZES: tuple[AdapterName, ...] = ("base", "small", "tiny")


def compare_sizes(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    alone = generate_pictures(experiment, TEXT_ALONE)
    without = count(experiment, condition, alone)
    made, findings = {"text alone": alone}, []
    for size in SIZES:
        adapter = experiment.train(condition, "" if size == "base" else size, adapter=size)
        made[size] = generate_pictures(experiment, GenerationConfig({condition: adapter}))
        parameters = sum(tensor.numel() for tensor in adapter.parameters())
        counts = count(experiment, condition, made[size])
        findings.append(find(f"adapter {size}", condition, counts, without, {"parameters": parameters}))
    show(experiment, f"06-{condition}", case, made)
    return findings


ADAPTER_SIZES = Row(6, "sizes of the adapter", each_alone, compare_sizes, trains=True)
