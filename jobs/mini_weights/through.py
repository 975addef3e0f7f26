"""Scenes as the networks that measure the miniature see them: simple and small, enlarged, every second one through
a base's autoencoder.

A base paints pictures that are no sharper than what its decoder gives, from latents that are never quite clean.
The networks learn from true scenes only, never from what a base has painted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.pipeline.scenes import VERSION, LayoutName, Scene, render

if TYPE_CHECKING:
    from t2i_shards.adapters.base import Base

WORLD: LayoutName = "simple"
SIZE = 256
"""Side of the enlarged pictures, which is the networks' input size."""
NOISE = 0.1
"""The most that is added to latents, as a share of their deviation."""


def file_of(network: str, through: Through | None) -> str:
    """Of its weights: seg-simple.safetensors, or without an autoencoder seg.safetensors."""
    return f"{network}-{WORLD}.safetensors" if through else f"{network}.safetensors"


@dataclass(frozen=True)
class Through:
    """base: whose autoencoder the pictures pass."""

    base: Base

    @cached_property
    def name(self) -> str:
        """Of files made with this autoencoder."""
        from t2i_shards.adapters.base import digest_networks

        return f"{WORLD}-through-{digest_networks({'vae': self.base.networks['vae']})[:8]}"

    @property
    def title(self) -> str:
        return f"simple scenes enlarged to {SIZE} px, half of them through an autoencoder, version {VERSION}"

    def render(self, seed: int, index: int) -> Scene:
        """The truth is that of a scene of SIZE pixels; a picture of an odd index has passed the autoencoder."""
        from t2i_shards.adapters.base.mini.networks import SIZE as SMALL
        from t2i_shards.adapters.evaluation.fidelity import enlarge

        picture = render(seed, index, SMALL, WORLD).picture
        if index % 2:
            picture = self._pass(picture, np.random.default_rng((seed, index)))
        return replace(render(seed, index, SIZE, WORLD), picture=enlarge(picture, SIZE))

    def _pass(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Encoded and decoded, with between 0 and NOISE times their deviation added to the latents."""
        import torch

        from t2i_shards.adapters.base import encode_picture
        from t2i_shards.adapters.inference.sampler import to_pixels

        with torch.no_grad():
            mean, _ = encode_picture(self.base, picture)
            latents = self.base.scale(mean)
            noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
            passed = self.base.decode(latents + rng.uniform(0, NOISE) * latents.std() * noise)
        given_back: np.ndarray = to_pixels(passed)[0]
        return given_back
