"""Pictures of the held-out scenes, generated once and kept, and how far they are from their conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.recipe import SAMPLING, Name, own_active_steps, own_weights, sampling_of

if TYPE_CHECKING:
    from diffusers import ControlNetModel

    from t2i_shards.adapters.base import Base
    from t2i_shards.adapters.evaluation.interval import Counts
    from t2i_shards.adapters.model.adapter import Adapter

BATCH = 16
SHOWN = 8
"""Scenes on a sheet."""


@dataclass(frozen=True)
class GenerationConfig:
    """How pictures are generated. adapters: by the condition that each is given; none for text alone.

    asked: how they are sampled; as the one adapter's condition says when None. controlnet: in place of adapters,
    by its condition. base: mini when None.
    """

    adapters: Mapping[Name, Adapter] = field(default_factory=dict)
    asked: Sampling | None = None
    base: Base | None = None
    controlnet: Mapping[Name, ControlNetModel] = field(default_factory=dict)

    @property
    def sampling(self) -> Sampling:
        return self.asked or (sampling_of(*self.adapters) if len(self.adapters) == 1 else SAMPLING)

    @property
    def weights(self) -> dict[Name, float]:
        """Of several adapters, those that are not 1."""
        return own_weights([*self.adapters]) if len(self.adapters) > 1 else {}

    @property
    def active_steps(self) -> dict[Name, str]:
        """Of several adapters, when those act that do not act as the sampling says."""
        return own_active_steps([*self.adapters]) if len(self.adapters) > 1 else {}


TEXT_ALONE = GenerationConfig()


def generate_pictures(experiment: Experiment, config: GenerationConfig) -> list[np.ndarray]:
    """uint8 (S, S, 3) of each held-out scene of the experiment; those that are kept are not made again.

    The noise of each scene is the same in all configurations, that of `evaluate` with the seed 0.
    """
    from t2i_shards.adapters.base import digest_base, digest_networks
    from t2i_shards.adapters.inference.image_folder import ImageFolder

    base = config.base or experiment.base
    conditions: list[Name] = [*config.adapters, *config.controlnet] or ["sketch"]
    examples = {condition: experiment.examples(condition) for condition in conditions}
    first = examples[conditions[0]]
    digests = {
        condition: digest_networks({"network": network})
        for condition, network in [*config.adapters.items(), *config.controlnet.items()]
    }
    record = {"base": digest_base(base), "networks": digests, "batch": BATCH, **config.sampling.record()}
    if config.weights:
        record |= {"weights": config.weights, "own acts": config.active_steps}
    kept = ImageFolder(experiment.out / "pictures", record)
    names = [example.key for example in first]
    for start in range(0, len(names), BATCH):
        places = range(start, min(start + BATCH, len(names)))
        if all(kept.has(names[place]) for place in places):
            continue
        pictures = _generate(base, config, examples, places, BATCH)
        for place, picture in zip(places, pictures, strict=True):
            kept.write(names[place], picture)
    return [kept.read(name) for name in names]


def generate_some(experiment: Experiment, config: GenerationConfig, condition: Name, number: int) -> np.ndarray:
    """The first scenes' pictures, all at once; they are not kept."""
    examples = {condition: experiment.examples(condition)}
    return _generate(config.base or experiment.base, config, examples, range(number), number)


def _generate(
    base: Base, config: GenerationConfig, examples: Mapping[Name, Sequence[Any]], places: range, batch: int
) -> np.ndarray:
    import torch

    from t2i_shards.adapters.base import Control
    from t2i_shards.adapters.evaluation.example import seed_of
    from t2i_shards.adapters.inference.control_images import to_control_image
    from t2i_shards.adapters.inference.sampler import generate
    from t2i_shards.adapters.model.compose import AdapterInput

    def see(condition: Name, channels: int) -> torch.Tensor:
        images = [examples[condition][place].control_image for place in places]
        return torch.cat([to_control_image(image, channels, condition) for image in images])

    first = next(iter(examples.values()))
    side = first[0].picture.shape[0]
    inputs = [
        AdapterInput(
            adapter,
            see(condition, adapter.config.in_channels),
            config.weights.get(condition, 1.0),
            condition,
            config.active_steps.get(condition),
        )
        for condition, adapter in config.adapters.items()
    ]
    controls = [
        Control(network, see(condition, int(network.config.conditioning_channels)))
        for condition, network in config.controlnet.items()
    ]
    return generate(
        base,
        inputs,
        [first[place].caption for place in places],
        [seed_of(0, first[place].key) for place in places],
        (side, side),
        config.sampling,
        control=next(iter(controls), None),
        batch=batch,
    )


def count(experiment: Experiment, condition: Name, pictures: Sequence[np.ndarray]) -> Counts:
    """How the pictures of the held-out scenes follow the scenes' own condition."""
    from t2i_shards.adapters.evaluation.fidelity import count_fidelity

    maps = [example.map for example in experiment.examples(condition)]
    (counts,) = count_fidelity(condition, [maps], pictures, experiment.extract(condition))
    return counts


def show(
    experiment: Experiment,
    name: str,
    conditions: Sequence[Name],
    made: Mapping[str, Sequence[Any]],
    captions: Sequence[str] = (),
) -> None:
    """OUT/NAME.png: a row for each of the first scenes, with its conditions, its pictures and its own picture.

    captions: by which the pictures were made, where they are not the scenes' own.
    """
    from t2i_shards.adapters.evaluation.grid import lay_out
    from t2i_shards.extractors.atomic import write_file
    from t2i_shards.extractors.maps import png

    rows, shown = [], experiment.examples(conditions[0])[:SHOWN]
    for place, example in enumerate(shown):
        seen = [experiment.examples(condition)[place].control_image for condition in conditions]
        given = [np.broadcast_to(image, example.picture.shape) for image in seen]
        rows.append([*given, *(pictures[place] for pictures in made.values()), example.picture])
    sheet = lay_out(
        rows,
        [*conditions, *made, "true picture"],
        captions[: len(shown)] or [example.caption for example in shown],
    )
    write_file(experiment.out / f"{name}.png", png.encode_rgb(sheet))
