"""Weights for the comparisons: the real ones where ../shared has them, else drawn at random.

The cost of a network does not depend on its weights, except for how many people it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.registry import weight_files
from t2i_shards.extractors.weights.file import WeightFile
from tests.conftest import ASSETS
from tests.contract.checkpoints import draw


def provide(conditions: Sequence[str], folder: Path) -> Path:
    """Put the files of these conditions (variant default) into `folder`, and have this process trust them.

    A process that finds them there only learns to trust them. Returns the folder, for --weights.
    """
    for condition in conditions:
        for file in weight_files(condition, "default"):
            path = folder / file.name / file.filename
            if not path.exists():
                _write(file, path)
            if not path.is_symlink():
                vars(file).update(sha256=sha256_of(path), bytes=path.stat().st_size)
    return folder


def _write(file: WeightFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    real = ASSETS / "weights" / file.name / file.filename
    if real.is_file():
        path.symlink_to(real)
    else:
        draw(file, path)
