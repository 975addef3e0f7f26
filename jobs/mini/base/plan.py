"""How the base mini is trained: what the shipped weights were made with, unless asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass

HELD_OUT = 4
"""The seed whose scenes are never trained on."""


@dataclass(frozen=True)
class Plan:
    """Batches are of all processes together."""

    seed: int = 5
    """Of the scenes, the first weights and the batches."""
    scenes: int = 8000
    vae_scenes: int = 4000
    """The first of the scenes; crops of more look the same."""
    vae_steps: int = 3600
    vae_batch: int = 8
    steps: int = 2600
    """Of the UNet and the text encoder."""
    batch: int = 36
    rate: float = 1e-3
    """The UNet's learning rate at its highest."""
    fall: int = 700
    """The UNet's last steps, over which the learning rate falls to zero."""
    kept_every: int = 100
    """Steps between checkpoints."""
