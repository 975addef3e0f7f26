"""How the base mini is trained, unless asked otherwise: about 5 CPU hours.

What the shipped weights were made with, which is less, is in their recipe.json.
"""

from __future__ import annotations

from dataclasses import dataclass

HELD_OUT = 4
"""The seed whose scenes are never trained on."""


@dataclass(frozen=True)
class Plan:
    """Batches are of all processes together."""

    seed: int = 5
    """Of the scenes, the first weights and the batches."""
    scenes: int = 24000
    vae_scenes: int = 8000
    """The first of the scenes; crops of more look the same."""
    vae_steps: int = 8000
    vae_batch: int = 8
    decoder_steps: int = 5200
    """Of the decoder alone, on whole scenes."""
    decoder_batch: int = 4
    decoder_noise: float = 0.1
    """The largest standard deviation of the noise added to the latents that the decoder is trained on (theirs is
    1): a UNet's latents are never as clean as the encoder's."""
    steps: int = 40000
    """Of the UNet and the text encoder."""
    batch: int = 32
    noise_offset: float = 0.3
    """Standard deviation of the value added to all noise of a channel when the UNet is trained, as by diffusers'
    `--noise_offset`. Without it even the noisiest latents show a picture's mean colours, and the UNet expects to
    find them in the pure noise that sampling begins with."""
    rate: float = 1e-3
    """The UNet's learning rate at its highest."""
    fall: float = 0.2
    """Share of the UNet's steps, the last ones, over which the learning rate falls to zero."""
    kept_every: int = 200
    """Steps between checkpoints."""
