"""The frozen base: what is asked of one, its families, and how one is loaded."""

from adapters.base.base import (
    Base,
    PromptEmbeds,
    Sampler,
    concat_embeds,
    digest_base,
    digest_networks,
)
from adapters.base.load import load_base
from adapters.base.stable_diffusion import StableDiffusion

__all__ = [
    "Base",
    "PromptEmbeds",
    "Sampler",
    "StableDiffusion",
    "concat_embeds",
    "digest_base",
    "digest_networks",
    "load_base",
]
