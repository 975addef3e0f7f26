"""The frozen base: what is asked of one, its families, and how one is loaded."""

from t2i_shards.adapters.base.base import (
    Base,
    Features,
    PromptEmbeds,
    Sampler,
    concat_embeds,
    digest_base,
    digest_networks,
    encode_picture,
)
from t2i_shards.adapters.base.control import Control
from t2i_shards.adapters.base.load import load_base
from t2i_shards.adapters.base.stable_diffusion import StableDiffusion

__all__ = [
    "Base",
    "Control",
    "Features",
    "PromptEmbeds",
    "Sampler",
    "StableDiffusion",
    "concat_embeds",
    "digest_base",
    "digest_networks",
    "encode_picture",
    "load_base",
]
