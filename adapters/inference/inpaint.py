"""Repainting part of a picture with a plain Stable Diffusion of 4 latent channels, which knows no masks.

At every step the latent outside the mask is that of the picture, noised to this step's level (arXiv 2302.08453,
section 4.3; Blended Latent Diffusion, arXiv 2206.02779); at the end the pixels outside are the picture's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import cv2
import numpy as np
import torch

from t2i_shards.adapters.base import Base, encode_picture
from t2i_shards.adapters.inference.config import Blending

log = logging.getLogger(__name__)
COVERED = 0.5
"""Share of the mask's pixels that must lie in cells that are repainted, or there is a warning."""


@dataclass(frozen=True)
class KnownLatents:
    """The picture's part in a batch: clean latents (N, C, h, w), and the noise of each step.

    exact: whether the clean latents are put back at the end, before they are decoded.
    """

    latents: torch.Tensor
    hole: torch.Tensor
    noises: Iterator[torch.Tensor]
    exact: bool

    def restore(self, latents: torch.Tensor, base: Base, timestep: torch.Tensor) -> torch.Tensor:
        """`latents` (N, C, h, w), outside the hole the picture's, noised to `timestep`."""
        noisy = base.add_noise(self.latents, next(self.noises), timestep.expand(len(latents)))
        return torch.where(self.hole, latents, noisy)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """What is decoded, of the last step's latents."""
        return torch.where(self.hole, latents, self.latents) if self.exact else latents


@dataclass(frozen=True)
class Inpainting:
    """picture: uint8 (H, W, 3). mask: bool (H, W), True where it is repainted.

    mean, deviation: float32 (1, C, h, w), scaled, of the picture's latents. hole: bool (1, 1, h, w), the cells
    that are repainted.
    """

    picture: np.ndarray
    mask: np.ndarray
    mean: torch.Tensor
    deviation: torch.Tensor
    hole: torch.Tensor
    blending: Blending

    def begin(self, noise: torch.Tensor, noises: Iterator[torch.Tensor]) -> KnownLatents:
        """noise: (N, C, h, w), which the pictures begin with. noises: more of the same seeds, without end."""
        if self.blending == "steady":
            return KnownLatents(self.mean.expand_as(noise), self.hole, repeat(noise), exact=True)
        return KnownLatents(self.mean + self.deviation * next(noises), self.hole, noises, exact=False)

    def paste(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> the same, with the picture's own pixels outside the mask."""
        return np.where(self.mask[..., None], pictures, self.picture)


@torch.no_grad()
def prepare_inpainting(
    base: Base, picture: np.ndarray, mask: np.ndarray, blending: Blending = "published"
) -> Inpainting:
    """picture: uint8 (H, W, 3), sides multiples of 64. mask: bool (H, W), True where to repaint.

    Warns where the cells that are repainted miss most of the mask.
    """
    mean, deviation = encode_picture(base, picture)
    height, width = mean.shape[2:]
    cell = picture.shape[0] // height
    touched = mask.reshape(height, cell, width, cell).mean(axis=(1, 3))
    hole = touched > 0 if blending == "steady" else _cover(mask, height, width)
    if (touched * hole).sum() < COVERED * touched.sum():
        log.warning(
            "--mask is thinner than the cells of %d pixels that are repainted, and most of it is not; "
            "--blending steady repaints every cell that it touches",
            cell,
        )
    cells = torch.from_numpy(hole).to(base.device)[None, None]
    return Inpainting(picture, mask, base.scale(mean), base.scale(deviation), cells, blending)


def _cover(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (height, width): the cells of whose middle half or more is masked, as in the published script."""
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, (width, height)) > 127)
