"""Procedural, captioned scenes with exact ground truth; a picture is a pure function of (seed, index)."""

from t2i_shards.pipeline.scenes.render import LayoutName, Scene, render

__all__ = ["VERSION", "LayoutName", "Scene", "render"]

VERSION = 1
"""Raised when a scene changes: it is recorded in dataset.json, so that two versions never mix."""
