"""The frozen base: its parts, and how it is loaded."""

from adapters.base.frozen import Base, Family, PromptEmbeds, concat_embeds, digest_base, digest_networks
from adapters.base.load import load_base

__all__ = ["Base", "Family", "PromptEmbeds", "concat_embeds", "digest_base", "digest_networks", "load_base"]
