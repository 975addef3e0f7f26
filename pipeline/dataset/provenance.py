"""What a column is, who made it and under which terms: read from its recipe, once for report, card and publish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from t2i_shards.extractors.registry import EXTRACTORS, formats
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset

OURS, NO_TERMS = "Apache-2.0", "none of its own"


@dataclass(frozen=True)
class UsedWeights:
    """A file that a column was made with. sha256: as its recipe says, which may be no digest at all."""

    file: str
    sha256: str
    licence: str

    @property
    def research_only(self) -> bool:
        return "research" in self.licence.lower()


@dataclass(frozen=True)
class Provenance:
    """recipe: what column.json says, whichever tool wrote it, without the folders of absolute paths."""

    column: str
    recipe: Mapping[str, Any]

    @property
    def condition(self) -> str | None:
        """The format that the column holds, by its recipe or its name; None when it is none of the registry's."""
        names, known = (self.recipe.get("condition"), self.recipe.get("extractor"), self.column), formats()
        return next((name for name in names if name in known), None)

    @property
    def is_condition(self) -> bool:
        """Whether an adapter can be trained on it, so that it is published unless other columns are asked for."""
        return self.condition is not None and formats()[self.condition].is_condition

    @property
    def by(self) -> str:
        """Its maker, with version and variant: "pidinet 1, default"; or whose ground truth it is."""
        name = self.recipe.get("extractor", self.recipe.get("made_by", "unknown"))
        parts = [f"{name} {self.recipe.get('version', '')}".strip(), str(self.recipe.get("variant") or "")]
        if "made_by" in self.recipe:
            parts.append("as it came" if "member" in self.recipe else "ground truth of the source")
        return ", ".join(filter(None, parts))

    @property
    def licence(self) -> str:
        """Of the annotations or of the rule, where no network made the column."""
        # What is drawn by a rule alone has no terms but the picture's.
        unsaid = NO_TERMS if "extractor" in self.recipe else "not told"
        return str(self.recipe.get("licence") or unsaid)

    @cached_property
    def weights(self) -> tuple[UsedWeights, ...]:
        """Every weight file that the recipe names, wherever in it."""
        return tuple(_find_weights(self.recipe))

    @property
    def terms(self) -> str:
        """The licences of the weights, or that of the annotations."""
        return "; ".join(dict.fromkeys(weights.licence for weights in self.weights)) or self.licence

    @property
    def is_ours(self) -> bool:
        return are_ours(self.terms)

    @property
    def research_only(self) -> bool:
        return any(weights.research_only for weights in self.weights)


def read_provenance(dataset: Dataset, column: str) -> Provenance:
    """Raises RequestError for a recipe that is not legible."""
    if column == IMAGES:
        return Provenance(IMAGES, {"extractor": f"ingest {dataset.description.source.get('kind')}"})
    return Provenance(column, without_paths(dict(dataset.recipe(column) or {})))


def choose_variant(condition: str, root: str, column: str | None) -> str:
    """The variant that the column's recipe names; `default` without a column, or for one made by another tool."""
    recipe = Dataset.open(root).recipe(column) if column is not None else None
    variant = str((recipe or {}).get("variant"))
    return variant if variant in EXTRACTORS[condition] else "default"


def are_ours(terms: str) -> bool:
    """Whether all of these `Provenance.terms` are this project's own licence, or none at all."""
    return all(licence.startswith((OURS, NO_TERMS)) for licence in terms.split("; "))


def sort_columns(columns: Iterable[Provenance]) -> list[Provenance]:
    """images, then the conditions in the order in which this project lists them, then the rest."""
    order = [*formats()]

    def place(column: Provenance) -> tuple[bool, int, str]:
        condition = column.condition
        at = order.index(condition) if condition is not None else len(order)
        return (column.column != IMAGES, at, column.column)

    return sorted(columns, key=place)


def choose_published(columns: Sequence[Provenance], asked: Collection[str] = ()) -> list[str]:
    """images, then those of the sorted columns that are asked for, or that hold a condition when none is."""
    return [
        of.column for of in columns if of.column == IMAGES or (of.column in asked if asked else of.is_condition)
    ]


def describe_geometry(geometry: Mapping[str, Any]) -> str:
    """What is done to every picture."""
    shape = "square of" if geometry.get("fit") == "square" else "short side"
    return f"{shape} {geometry.get('size')} pixels, JPEG {geometry.get('quality')}"


def without_paths(record: Any) -> Any:
    """The record with every absolute path cut to its last part: a user's folders are private."""
    if isinstance(record, dict):
        return {name: without_paths(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [without_paths(value) for value in record]
    if isinstance(record, str) and PurePath(record).is_absolute():
        return PurePath(record).name
    return record


def _find_weights(record: Any) -> Iterator[UsedWeights]:
    if isinstance(record, dict):
        if "file" in record and "sha256" in record:
            licence = str(record.get("licence", "unknown"))
            yield UsedWeights(str(record["file"]), str(record["sha256"]), licence)
        else:
            for value in record.values():
                yield from _find_weights(value)
    elif isinstance(record, list):
        for value in record:
            yield from _find_weights(value)
