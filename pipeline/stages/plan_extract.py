"""Planning an extraction: which columns, made by which extractor, on what kind of worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t2i_shards.extractors.base import Resources, compiled_recipe
from t2i_shards.extractors.batch import DEVICES
from t2i_shards.extractors.registry import UnknownCondition, make_extractor
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.extract_command import extract_command
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages.extract import Condition, Extract


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
    compiled: bool = False,
) -> Extract:
    """The stage for these conditions, its columns begun; `column` renames the only one.

    Raises RequestError for an unknown condition, weights that are not available, or a column of another recipe.
    """
    if column is not None and len(names) != 1:
        raise RequestError(f"--as names one column, so --conditions must name one condition, not {len(names)}")
    if not names:
        raise RequestError("--conditions must name at least one condition, none was given")
    if batch < 1:
        raise RequestError(f"--batch must be at least 1, not {batch}")
    if device not in DEVICES:
        raise RequestError(f"--device must be one of {', '.join(DEVICES)}, not {device!r}")
    recipes, resources = {}, []
    for name in dict.fromkeys(names):
        try:
            extractor = make_extractor(name, variant, weights)
            recipe = extractor.recipe()
        except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
            _refuse_other_variant(dataset, column or name, variant)
            raise RequestError(str(error)) from None
        recipes[name] = compiled_recipe(recipe) if compiled else recipe
        resources.append(extractor.resources)
    # No column is begun before all of the request is known to be right.
    conditions = [
        Condition(column or name, name, variant, dataset.claim(column or name, recipe))
        for name, recipe in recipes.items()
    ]
    # A worker of a cluster runs in another folder than the command.
    weights = weights and weights.absolute()
    return Extract(dataset, conditions, combine(resources, device), weights, batch, device, compiled)


def _refuse_other_variant(dataset: Dataset, column: str, variant: str) -> None:
    """RequestError where the column was made by another variant: then its weights are the ones to ask for."""
    recipe = dataset.recipe(column) or {}
    command = extract_command(dataset.store.root, column, recipe)
    if command and recipe.get("variant") not in (None, variant):
        raise RequestError(
            f"{column} was made with --variant {recipe['variant']}, this asks for {variant}: {command} continues "
            "it, --as writes another column"
        )
