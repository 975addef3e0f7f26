"""Publications of earlier versions: whether samples were dealt out to the splits in the order given now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.outcomes import sample_keys
from t2i_shards.pipeline.dataset.tombstones import read_tombstones
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish.assignment import Choice, Target
from t2i_shards.pipeline.publish.index import read_dali_index
from t2i_shards.pipeline.publish.pack import RECEIPTS, index_paths
from t2i_shards.pipeline.publish.plan import Plan
from t2i_shards.pipeline.shards.store import AT_ONCE, Store


def check_order(plan: Plan, choice: Choice) -> None:
    """Compare the keys of every published shard with the choice, where the claim does not tell the splits' order.

    Raises RequestError when they differ: going on would put samples into two splits.
    """
    if not isinstance(plan.claim["splits"], Mapping) or len(plan.shares) == 1:
        return
    tombstones = read_tombstones(plan.dataset, first=plan.tombstones + 1)
    removed = {key for keys in tombstones.values() for key in keys}

    def agrees(target: Target) -> bool:
        found = _published(plan.to, target)
        return found is None or _without(found, removed) == _without(_chosen(plan, choice, target), removed)

    known = {f"{target.name}.json" for target in choice.targets}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        same = all(threads.map(agrees, choice.targets))
    if not same or not known.issuperset(plan.to.names(RECEIPTS)):
        raise RequestError(
            f"{plan.to.root} was published with --splits in another order than {' '.join(plan.asked.splits)}; "
            "give them in the order of its first run, or use another --to"
        )


def _published(to: Store, target: Target) -> list[str] | None:
    """The keys of a shard that is there; None when it is not."""
    path, _ = index_paths(target)
    with suppress(FileNotFoundError):
        return [entry.key for entry in read_dali_index(to.load(path), path)]
    return None


def _chosen(plan: Plan, choice: Choice, target: Target) -> list[str]:
    """The keys that the choice puts into a shard."""
    keys: list[str] = []
    for part in choice.parts(target):
        held = sample_keys(plan.dataset.store, plan.receipts[IMAGES][part.shard])
        keys += [held[index] for index in part.indices]
    return keys


def _without(keys: Iterable[str], removed: Collection[str]) -> list[str]:
    return [key for key in keys if key not in removed]
