"""Repainting part of a picture with a plain Stable Diffusion of 4 latent channels, which knows no masks.

At every step the latent outside the mask is that of the picture, noised to this step's level (arXiv 2302.08453,
section 4.3; Blended Latent Diffusion, arXiv 2206.02779); at the end the pixels outside are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from t2i_shards.adapters.base import Base


@dataclass(frozen=True)
class Inpainting:
    """picture: uint8 (H, W, 3). mask: bool (H, W), True where it is repainted.

    latents: float32 (1, C, h, w), scaled, the picture's. hole: bool (1, 1, h, w), cells with a pixel of the mask.
    """

    picture: np.ndarray
    mask: np.ndarray
    latents: torch.Tensor
    hole: torch.Tensor

    def restore(
        self, latents: torch.Tensor, noise: torch.Tensor, base: Base, timestep: torch.Tensor | None
    ) -> torch.Tensor:
        """`latents` (N, C, h, w), outside the hole the picture's, noised to `timestep` (None: clean)."""
        known = self.latents.expand_as(latents)
        if timestep is not None:
            known = base.add_noise(known, noise, timestep.expand(len(latents)))
        return torch.where(self.hole, latents, known)

    def paste(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> the same, with the very pixels of the picture outside the mask."""
        return np.where(self.mask[..., None], pictures, self.picture)


@torch.no_grad()
def prepare_inpainting(base: Base, picture: np.ndarray, mask: np.ndarray) -> Inpainting:
    """picture: uint8 (H, W, 3), sides multiples of 64. mask: bool (H, W), True where to repaint."""
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].to(base.device)
    mean, _ = base.encode(pixels.float() / 127.5 - 1)
    cell = picture.shape[0] // mean.shape[2]
    wanted = torch.from_numpy(mask).to(base.device)[None, None].float()
    hole = torch.nn.functional.max_pool2d(wanted, cell) > 0
    return Inpainting(picture, mask, base.scale(mean), hole)
