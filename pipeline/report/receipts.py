"""The receipts of a dataset, and what they tell of a publication before it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from extractors.formats import FORMATS
from pipeline.commit import load_receipt
from pipeline.dataset import AT_ONCE, IMAGES, Dataset
from pipeline.errors import DamagedShard
from pipeline.receipt import Receipt

Receipts = Mapping[str, Mapping[int, Receipt]]
"""column -> shard -> receipt."""

DUPLICATE = "duplicate, with --no-duplicates"


def sort_columns(columns: Sequence[str]) -> list[str]:
    """images, then the conditions in the order in which this project lists them, then the rest."""
    known = [IMAGES, *FORMATS]
    return sorted(columns, key=lambda c: (known.index(c) if c in known else len(known), c))


def read_receipts(dataset: Dataset, columns: Sequence[str]) -> tuple[Receipts, list[str]]:
    """All receipts, and a line for each that is damaged: one of them must not hide the others."""

    def read(column: str, shard: int) -> Receipt | str | None:
        try:
            return load_receipt(dataset.store, column, shard)
        except DamagedShard as error:
            return str(error)

    asked = [(column, shard) for column in columns for shard in sorted(dataset.done(column))]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda one: read(*one), asked))
    receipts: dict[str, dict[int, Receipt]] = {column: {} for column in columns}
    for (column, shard), answer in zip(asked, answers, strict=True):
        if isinstance(answer, Receipt):
            receipts[column][shard] = answer
    return receipts, [answer for answer in answers if isinstance(answer, str)]


def count_left_out(
    dataset: Dataset,
    receipts: Receipts,
    removed: Mapping[int, AbstractSet[str]],
    duplicates: Mapping[int, AbstractSet[str]],
) -> tuple[tuple[str, int], ...]:
    """(reason, samples) that a publication of all conditions would leave out, each sample once.

    removed, duplicates: shard -> keys; the latter are left out only when that is asked for.
    """
    counts = Counter({"removed": sum(map(len, removed.values()))})
    conditions = [column for column in receipts if column != IMAGES and _is_condition(dataset, column)]
    for shard in receipts[IMAGES]:
        counted = set(removed.get(shard, ()))
        for column in conditions:
            if (receipt := receipts[column].get(shard)) is not None:
                lacking = receipt.dropped.keys() - counted
                counts[f"no {column}"] += len(lacking)
                counted |= lacking
        counts[DUPLICATE] += len(duplicates.get(shard, set()) - counted)
    last = counts.pop(DUPLICATE, 0)
    return tuple((reason, count) for reason, count in (*counts.items(), (DUPLICATE, last)) if count)


def _is_condition(dataset: Dataset, column: str) -> bool:
    recipe = dataset.recipe(column) or {}
    form = next(
        (FORMATS[n] for n in (recipe.get("condition"), recipe.get("extractor"), column) if n in FORMATS), None
    )
    return form is not None and form.is_condition
