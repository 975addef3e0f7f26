"""Losses: the planned rows that became no sample and the samples that a column lacks, by file and reason.

The yield of a download is how many planned rows became samples, and where the others were lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.last_tries import LastTries, list_lossy
from t2i_shards.pipeline.dataset.outcomes import rows_path
from t2i_shards.pipeline.dataset.plan import plan_path, read_plan_table
from t2i_shards.pipeline.download.reasons import kind_of
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.shards.read_ahead import read_ahead
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import Store

HOSTS = 10
"""Hosts in the table: those that lost most."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A row that a column lacks. location: path or URL of the original, as the plan has it."""

    key: str
    location: str
    reason: str


def read_losses(dataset: Dataset, images: ReceiptTable) -> Iterator[Loss]:
    """The planned rows that became no sample: each once, by its last try, in the order of the plan.

    They are read as they are asked for. images: the receipts. Raises DamagedShard.
    """
    tries = LastTries(dataset, images)
    for found in read_ahead(partial(locate_losses, dataset.store, tries), list_lossy(dataset, images)):
        yield from found


def locate_losses(store: Store, tries: LastTries, shard: int) -> list[Loss]:
    """Those of the rows that were tried first in this shard. Raises DamagedShard."""
    failed = tries.find_failed(shard)
    if not failed:
        return []
    plan = read_plan_table(store, shard)
    locations = dict(zip(plan["key"].to_pylist(), plan["location"].to_pylist(), strict=True))
    if not failed.keys() <= locations.keys():
        raise DamagedShard(f"{rows_path(shard)}: its keys are not those of {plan_path(shard)}")
    return [Loss(key, locations[key], reason) for key, (_, reason) in failed.items()]


def read_column_losses(dataset: Dataset, receipts: ReceiptTable) -> Iterator[Loss]:
    """The samples that a column other than images lacks, by its receipts. Raises DamagedShard."""
    assert receipts.column != IMAGES
    for shard, dropped in receipts.within(0, dataset.shards.stop).counts("dropped"):
        locations = {row.key: row.location for row in dataset.plan(shard)}
        for key, reason in dropped.items():
            yield Loss(key, locations.get(key, ""), reason)


@dataclass
class Yield:
    """planned: rows; samples: those that became one; reasons: why the others did not, at their last try.

    hosts: host -> reasons, where they were counted. problems: a line for each shard that could not be read.
    """

    planned: int = 0
    samples: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """samples / planned, 0 to 1; 1 where nothing was planned."""
        return self.samples / self.planned if self.planned else 1.0

    @property
    def kinds(self) -> Counter[str]:
        """The reasons by kind."""
        kinds = Counter[str]()
        for reason, count in self.reasons.items():
            kinds[kind_of(reason)] += count
        return kinds

    @property
    def worst_hosts(self) -> list[tuple[str, Counter[str]]]:
        """(host, its reasons) of the HOSTS that lost most, the worst first."""
        return sorted(self.hosts.items(), key=lambda item: (-item[1].total(), item[0]))[:HOSTS]


def host_of(location: str) -> str:
    """The host of a URL, or "" where there is none."""
    try:
        return urlsplit(location).hostname or ""
    except ValueError:
        return ""


def yield_table(found: Yield) -> list[str]:
    """Lines: the kinds and reasons of all losses, then the hosts that lost most with their commonest reason."""
    lines = [
        f"  {kind}: {count} of {number_of(found.planned, 'row')}" for kind, count in found.kinds.most_common()
    ]
    lines += [f"  {kind_of(reason)}, {reason}: {count}" for reason, count in found.reasons.most_common()]
    for host, reasons in found.worst_hosts if any(found.hosts) else ():
        reason, count = reasons.most_common(1)[0]
        lines.append(f"  {host or 'no host'}: {number_of(reasons.total(), 'row')}, {count} of them {reason}")
    return lines
