"""Weight files for the contract suite: the real ones where they can be had, else drawn at random.

A file drawn at random has the published names and shapes, and weights with which the network's maps depend on the
picture. The record of the file then names that file's digest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from extractors.locks import sha256_of
from extractors.weights import WeightFile, find
from tests.extractors import networks


def write_pidinet(path: Path) -> None:
    import torch

    torch.save(networks.checkpoint_of(networks.published(60, 24)), path)


def write_midas(path: Path) -> None:
    import torch

    torch.save(networks.published_midas().state_dict(), path)


def write_depth_anything(path: Path) -> None:
    networks.write_transformers(networks.published_depth_anything(), path)


def write_mask2former(path: Path) -> None:
    networks.write_mask2former(networks.published_mask2former(), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "table5_pidinet": write_pidinet,
    "dpt_hybrid": write_midas,
    "depth-anything-v2-small": write_depth_anything,
    "mask2former-swin-tiny": write_mask2former,
}
"""How a file's name, or its family's, begins -> what writes one with random weights."""


def provide(files: tuple[WeightFile, ...], folder: Path, assets: Path, patch: pytest.MonkeyPatch) -> bool:
    """Put the files into `folder` (those that are not shipped), and say whether any of them is drawn at random.

    Skips where a shipped file is not there yet, or nobody knows how to write one.
    """
    import torch

    drawn = False
    for file in files:
        if file.shipped:
            if not find(file, None):
                pytest.skip(f"{file.filename} does not come with this copy of the package")
            continue
        if file.name == "mmpose":
            pytest.skip(
                "RTMO takes seconds a picture: its tests hold it against mmpose, and mini runs the same code"
            )
        path = folder / file.name / file.filename
        path.parent.mkdir(exist_ok=True)
        real = assets / "weights" / file.name / file.filename
        if real.is_file():
            path.symlink_to(real)
            continue
        writers = [w for start, w in WRITERS.items() if f"{file.name}/{file.filename}".find(start) >= 0]
        if not writers:
            pytest.skip(
                f"no writer of random weights for {file.filename}: add one to tests/contract/checkpoints.py"
            )
        torch.manual_seed(3)
        writers[0](path)
        patch.setitem(vars(file), "sha256", sha256_of(path))
        patch.setitem(vars(file), "bytes", path.stat().st_size)
        drawn = True
    return drawn
