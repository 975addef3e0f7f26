"""The base that ships with this project, `--base mini`: a small Stable Diffusion that paints the simple scenes.

This folder holds it in diffusers' layout, in half precision, with SHA256SUMS and recipe.json; `t2i-shards
mini-base` made it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t2i_shards.pipeline.errors import RequestError

FOLDER = Path(__file__).parent
SUMS = "SHA256SUMS"
RECIPE = "recipe.json"


def find_mini(folder: Path = FOLDER) -> Path:
    """The folder, after each of its files was found to be what SHA256SUMS says. Raises RequestError."""
    from t2i_shards.extractors.atomic import sha256_of

    for name, digest in read_sums(folder).items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != digest:
            what = "damaged" if path.is_file() else "missing"
            raise RequestError(f"--base mini is incomplete: {path} is {what}; install t2i-shards again")
    return folder


def read_sums(folder: Path = FOLDER) -> dict[str, str]:
    """Path in the folder -> sha256, of a file as `sha256sum` writes it. Raises RequestError."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError as error:
        raise RequestError(f"--base mini is incomplete: {folder / SUMS}: {error.strerror}") from None
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def read_recipe(folder: Path = FOLDER) -> dict[str, Any]:
    """How it was trained, and what was measured."""
    recipe: dict[str, Any] = json.loads((folder / RECIPE).read_text())
    return recipe
