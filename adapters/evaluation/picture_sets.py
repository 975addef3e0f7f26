"""The sets of pictures that an evaluation makes: with the condition, without it, and with another sample's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from t2i_shards.adapters.base import Base, digest_base
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.example import EvalExample, crop_middle, seed_of
from t2i_shards.adapters.evaluation.samples import EvalSamples
from t2i_shards.adapters.evaluation.subject import Subject
from t2i_shards.adapters.inference.control_images import to_control_image
from t2i_shards.adapters.inference.image_folder import ImageFolder, digest_array
from t2i_shards.adapters.inference.sampler import generate

Progress = Callable[[float, int], Any]
"""Called with the number of pictures made so far, and of all."""

SETS = 3
"""Sets of pictures that are generated, each of all samples."""
Pictures = Callable[[], Iterator[np.ndarray]]
"""Gives the pictures of all samples, one at a time: thousands need not be in memory at once. All samples with
the first seed, then with the next."""


@dataclass(frozen=True)
class PictureSet:
    """One picture of each sample and seed. name: of its folder. condition_of: whose condition each sample gets, by
    place in the samples; None for no adapter."""

    name: str
    title: str
    condition_of: Callable[[int], int] | None


class EvalExamples(Sequence[EvalExample]):
    """The samples as they are used, decoded again each time."""

    def __init__(self, eval_samples: EvalSamples, condition: str, size: int) -> None:
        self._samples, self._condition, self.size = eval_samples.samples, condition, size

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return crop_middle(self._samples[place], self._condition, self.size)


class Maker:
    """Makes the pictures of all sets, and keeps them."""

    def __init__(
        self,
        config: EvaluateConfig,
        base: Base,
        subject: Subject,
        examples: EvalExamples,
        folder: Path,
        said: Progress,
    ) -> None:
        self._config, self._base, self._subject, self._examples = config, base, subject, examples
        self._folder, self._said, self._done = folder, said, 0
        self.seeds = range(config.seed, config.seed + config.seeds)
        self.base_digest = digest_base(base)

    def make(self, which: PictureSet) -> Pictures:
        """The pictures of one set; those that are there already are not made again."""
        config = self._config
        folder, sampling = self._folder / which.name, config.sampling
        if not which.condition_of:  # how much adapters count changes nothing
            folder, sampling = config.without or folder, replace(sampling, scale=1.0, active_steps="all")
        image_folder = ImageFolder(
            folder,
            {
                "base": self.base_digest,
                "adapter": self._subject.digest if which.condition_of else None,
                "size": self._examples.size,
                "precision": config.precision,
                "batch": config.batch,
                **sampling.record(),
                **self._base.describe_sampler(),
            },
        )
        names = [name for seed in self.seeds for name in self._make(which, image_folder, seed)]
        return lambda: map(image_folder.read, names)

    def _make(self, which: PictureSet, image_folder: ImageFolder, base_seed: int) -> list[str]:
        """The names of the pictures with one seed."""
        config, names = self._config, list[str]()
        for first in range(0, len(self._examples), config.batch):
            places = range(first, min(first + config.batch, len(self._examples)))
            examples = [self._examples[place] for place in places]
            control_images = (
                [self._examples[which.condition_of(place)].control_image for place in places]
                if which.condition_of
                else []
            )
            seeds = [seed_of(base_seed, example.key) for example in examples]
            some = [
                self._name(*of)
                for of in zip(examples, seeds, control_images or [None] * len(examples), strict=True)
            ]
            if not all(map(image_folder.has, some)):
                pictures = self._paint(examples, seeds, control_images)
                for name, picture in zip(some, pictures, strict=True):
                    image_folder.write(name, picture)
            names += some
            self._done += len(some)
            self._said(self._done, SETS * len(self.seeds) * len(self._examples))
        return names

    def _name(self, example: EvalExample, seed: int, control_image: np.ndarray | None) -> str:
        """With a digest of what is particular to this picture; the folder's covers what all have in common."""
        own = f"{example.caption}\n{seed}\n{'' if control_image is None else digest_array(control_image)}"
        return f"{example.key}-{digest_array(np.frombuffer(own.encode(), np.uint8))[:8]}"

    def _paint(
        self, examples: list[EvalExample], seeds: list[int], control_images: list[np.ndarray]
    ) -> np.ndarray:
        guide: dict[str, Any] = {"adapter_inputs": []}
        if control_images:
            channels, condition = self._subject.channels, self._config.condition
            stacked = [to_control_image(control_image, channels, condition) for control_image in control_images]
            guide = self._subject.guide(torch.cat(stacked))
        return generate(
            self._base,
            captions=[example.caption for example in examples],
            seeds=seeds,
            pixels=(self._examples.size, self._examples.size),
            sampling=self._config.sampling,
            batch=self._config.batch,
            progress=lambda made: self._said(self._done + made, SETS * len(self.seeds) * len(self._examples)),
            **guide,
        )
