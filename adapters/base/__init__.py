"""The frozen base: its parts, and how one is had."""

from adapters.base.frozen import Base, Context, Family, digest_base, digest_networks, join
from adapters.base.load import load_base

__all__ = ["Base", "Context", "Family", "digest_base", "digest_networks", "join", "load_base"]
