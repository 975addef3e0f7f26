"""Row 10: an edit inside a mask, by the condition and the caption of another scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.registry import format_of
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import show
from t2i_shards.jobs.miniature.recipe import Name, sampling_of
from t2i_shards.jobs.miniature.row import Case, Row

if TYPE_CHECKING:
    from t2i_shards.adapters.evaluation.interval import Counts
    from t2i_shards.adapters.model.adapter import Adapter

WINDOW = slice(48, 112), slice(32, 96)
"""Rows and columns of the mask, where the things of a scene are."""


def choose_local(conditions: Sequence[Name]) -> Sequence[Case]:
    """Colour is left out: its cells are as large as the mask."""
    return [(condition,) for condition in conditions if not format_of(condition).from_crop]


def edit(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    adapter, examples = experiment.train(condition), experiment.examples(condition)
    others = _choose_others(condition, [example.map for example in examples])
    made: dict[str, list[np.ndarray]] = {
        f"given {condition}": [_broadcast(examples[other].control_image) for other in others],
        "without": [_repaint(experiment, condition, place, others[place], None) for place in range(len(examples))],
        "edited": [
            _repaint(experiment, condition, place, others[place], adapter) for place in range(len(examples))
        ],
        "given picture": [examples[other].picture for other in others],
    }
    show(experiment, f"10-{condition}", case, made, [examples[other].caption for other in others])
    given = [examples[other].map for other in others]
    alone, edited = (_count_inside(experiment, condition, made[which], given) for which in ("without", "edited"))
    changed = sum(
        _count_outside(example.picture, picture) for example, picture in zip(examples, made["edited"], strict=True)
    )
    return [
        find("inside, caption alone", condition, alone),
        find("inside, with the adapter", condition, edited, alone, {"pixels changed outside": changed}),
    ]


def _broadcast(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _choose_others(condition: Name, maps: Sequence[Any]) -> list[int]:
    """For each scene the next one whose condition shows something inside."""
    form, number = format_of(condition), len(maps)
    shows = [not form.is_blank(form.crop(each, WINDOW)) for each in maps]
    return [
        next((other % number for other in range(place + 1, place + number) if shows[other % number]), place)
        for place in range(number)
    ]


def _repaint(
    experiment: Experiment, condition: Name, place: int, other: int, adapter: Adapter | None
) -> np.ndarray:
    """uint8 (S, S, 3). adapter: sees the scene's own condition outside the mask and the other's inside."""
    from t2i_shards.adapters.evaluation.example import seed_of
    from t2i_shards.adapters.inference.control_images import to_control_image
    from t2i_shards.adapters.inference.inpaint import prepare_inpainting
    from t2i_shards.adapters.inference.sampler import generate
    from t2i_shards.adapters.model.compose import AdapterInput

    own, another = (experiment.examples(condition)[index] for index in (place, other))
    mask = np.zeros(own.picture.shape[:2], bool)
    mask[WINDOW] = True
    inputs = []
    if adapter is not None:
        seen = np.where(mask[..., None], another.control_image, own.control_image)
        inputs.append(AdapterInput(adapter, to_control_image(seen, adapter.config.in_channels, condition)))
    inpainting = prepare_inpainting(experiment.base, own.picture, mask)
    size, seeds, sampling = own.picture.shape[:2], [seed_of(0, own.key)], sampling_of(condition)
    (picture,) = generate(experiment.base, inputs, [another.caption], seeds, size, sampling, inpainting=inpainting)
    return np.asarray(picture)


def _count_inside(
    experiment: Experiment, condition: Name, pictures: Sequence[np.ndarray], given: Sequence[Any]
) -> Counts:
    from t2i_shards.adapters.evaluation.fidelity import extract_again
    from t2i_shards.adapters.evaluation.interval import Counts

    form = format_of(condition)
    assert form.fidelity is not None
    found = extract_again(experiment.extract(condition), pictures)
    rows = [
        form.fidelity.count(form.crop(one, WINDOW), form.crop(other, WINDOW))
        for one, other in zip(found, given, strict=True)
    ]
    return Counts(np.stack(rows), form.fidelity.evaluate)


def _count_outside(before: np.ndarray, after: np.ndarray) -> int:
    """Pixels outside the mask that are not as they were."""
    changed = (before != after).any(axis=2)
    changed[WINDOW] = False
    return int(changed.sum())


EDIT = Row(10, "an edit inside a mask", choose_local, edit)
