"""Counting losses: how many planned rows became samples, and why the others did not.

Receipts say it where nothing was tried again. Otherwise, and for the counts of hosts, workers read the tables of
some shards each, and what they counted is added up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.last_tries import LastTries, list_lossy, list_retries
from t2i_shards.pipeline.dataset.losses import Yield, host_of, locate_losses
from t2i_shards.pipeline.dataset.roll_up import read_receipts
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.stage import FEW, Stage, StageResult

MOST_HOSTS = 1000
"""Hosts that a piece counts: those that lost most. A thousandth host is not among the ten of the table."""
LEAST_SHARDS, MOST_PIECES = 100, 100


class Outcome(Protocol):
    """`RunResult`, as far as it is read here."""

    made: dict[int, StageResult]
    quarantined: dict[int, str]


Work: TypeAlias = Callable[[Stage, Sequence[int]], Outcome]
"""Does a stage for these numbers in workers."""


@dataclass(frozen=True)
class LossCount(StageResult):
    """Rows of a piece that gave no sample, by reason, and by host and reason."""

    reasons: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass
class CountLosses(Stage):
    """Stage: number n of `pieces`, each some of `list_lossy` -> what their rows lost, by their last try.

    hosts: count by host too, which takes reading the plans.
    """

    dataset: Dataset
    pieces: Sequence[Sequence[int]]
    hosts: bool = False

    def __call__(self, shard: int) -> LossCount:
        store, piece = self.dataset.store, self.pieces[shard]
        # Damaged receipts were named when all were read.
        tries = LastTries(
            self.dataset, read_receipts(store, IMAGES, piece, self.dataset.roll_ups(IMAGES), damaged=[])
        )
        reasons, hosts, errors = Counter[str](), defaultdict[str, Counter[str]](Counter), list[str]()
        for number in piece:
            try:
                if self.hosts:
                    lost = [(host_of(loss.location), loss.reason) for loss in locate_losses(store, tries, number)]
                else:
                    lost = [("", reason) for _, reason in tries.find_failed(number).values()]
            except DamagedShard as error:
                errors.append(str(error))
                continue
            for host, reason in lost:
                reasons[reason] += 1
                hosts[host][reason] += 1
        worst = sorted(hosts.items(), key=lambda item: (-item[1].total(), item[0]))[:MOST_HOSTS]
        return LossCount(errors=tuple(errors), reasons=reasons, hosts=dict(worst) if self.hosts else {})


def measure_yield(dataset: Dataset, images: ReceiptTable, work: Work, hosts: bool = False) -> Yield:
    """Count every planned row once, by what became of it at its last try.

    images: the receipts. hosts: count the losses of each host too.
    """
    images = images.within(0, dataset.shards.stop)
    found = Yield(planned=dataset.planned, samples=int(images.numbers("samples").sum()))
    if not hosts and not list_retries(dataset):
        for _, drops in images.counts("drops"):
            found.reasons.update(drops)
        return found
    lossy = list_lossy(dataset, images)
    size = max(LEAST_SHARDS, -(-len(lossy) // MOST_PIECES))
    stage = CountLosses(dataset, [lossy[start : start + size] for start in range(0, len(lossy), size)], hosts)
    numbers = range(len(stage.pieces))
    if len(numbers) <= FEW:
        _add(found, map(stage, numbers))
    else:
        outcome = work(stage, numbers)
        _add(found, outcome.made.values())
        found.problems += [f"losses could not be counted: {why}" for why in outcome.quarantined.values()]
    # Rows of many shards may have been tried again in one that is damaged.
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _add(found: Yield, results: Iterable[StageResult]) -> None:
    for result in results:
        if isinstance(result, LossCount):
            found.reasons.update(result.reasons)
            found.problems += result.errors
            for host, reasons in result.hosts.items():
                found.hosts[host].update(reasons)
