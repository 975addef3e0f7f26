"""Procedural, captioned scenes with exact ground truth; a picture is a pure function of (seed, index)."""

from pipeline.sources.scenes.render import Scene, render

__all__ = ["Scene", "render"]
