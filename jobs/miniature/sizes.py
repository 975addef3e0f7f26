"""Row 6: adapters of three sizes, trained alike."""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.adapters.options import AdapterName
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.painting import TEXT_ALONE, Way, count, paint, show
from t2i_shards.jobs.miniature.row import Case, Row, each_alone
from t2i_shards.jobs.miniature.workshop import Workshop

SIZES: tuple[AdapterName, ...] = ("base", "small", "tiny")


def compare_sizes(workshop: Workshop, case: Case) -> Sequence[Finding]:
    (condition,) = case
    alone = paint(workshop, TEXT_ALONE)
    without = count(workshop, condition, alone)
    made, findings = {"text alone": alone}, []
    for size in SIZES:
        adapter = workshop.train(condition, "" if size == "base" else size, adapter=size)
        made[size] = paint(workshop, Way({condition: adapter}))
        parameters = sum(tensor.numel() for tensor in adapter.parameters())
        counts = count(workshop, condition, made[size])
        findings.append(find(f"adapter {size}", condition, counts, without, {"parameters": parameters}))
    show(workshop, f"06-{condition}", case, made)
    return findings


ADAPTER_SIZES = Row(6, "sizes of the adapter", each_alone, compare_sizes, trains=True)
