"""Weight files for the contract suite: the real ones where they can be had, else drawn at random.

A file drawn at random has the published names and shapes, and weights with which the network's maps depend on the
picture. The record of the file then names that file's digest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from t2i_shards.extractors import keypose
from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.networks.mmpose_models import CROP, build_model
from t2i_shards.extractors.weights.file import WeightFile
from t2i_shards.extractors.weights.resolve import find
from tests.extractors import published_networks as networks
from tests.extractors.mmpose_networks import settle


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


def write_vae(path: Path) -> None:
    networks.write_vae(networks.published_vae(), path)


def write_tiny_vae(path: Path) -> None:
    from t2i_shards.extractors.networks.mini_vae import build_vae

    build_vae().save_pretrained(path.parent)


def write_mmpose(network: keypose.Network, path: Path) -> None:
    """Norms are set by one look at a photograph: without, numbers grow beyond all bounds."""
    import cv2
    import torch
    from skimage.data import astronaut

    model = build_model(network.config())
    sides = tuple(model.test_cfg["input_size"]) if network is keypose.RTMO else CROP
    seen = torch.from_numpy(cv2.resize(astronaut(), sides)).permute(2, 0, 1)[None].float()
    if network is not keypose.RTMO:
        seen = (seen - model.data_preprocessor.mean) / model.data_preprocessor.std
    settle(model, seen)
    torch.save({"state_dict": model.state_dict()}, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "table5_pidinet": write_pidinet,
    "dpt_hybrid": write_midas,
    "depth-anything-v2-small": write_depth_anything,
    "mask2former-swin-tiny": write_mask2former,
    "mmpose/rtmo-m": partial(write_mmpose, keypose.RTMO),
    "mmpose/td-hm_hrnet-w48": partial(write_mmpose, keypose.HRNET),
    "mmpose/rtmpose-m": partial(write_mmpose, keypose.RTMPOSE),
    "stable-diffusion": write_vae,
    "vae/": write_tiny_vae,
}
"""How a file's name, or its family's, begins -> what writes one with random weights."""


def provide(files: tuple[WeightFile, ...], folder: Path, assets: Path, patch: pytest.MonkeyPatch) -> bool:
    """Put the files into `folder` (those that are not shipped), and say whether any of them is drawn at random.

    Skips where a shipped file is not there yet, or no writer of its format is known.
    """
    drawn = False
    for file in files:
        if file.shipped:
            if not find(file, None):
                pytest.skip(f"{file.filename} does not come with this copy of the package")
            continue
        path = folder / file.name / file.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        real = assets / "weights" / file.name / file.filename
        if real.is_file():
            path.symlink_to(real)
            continue
        try:
            draw(file, path)
        except LookupError as error:
            pytest.skip(str(error))
        for name, value in (("sha256", sha256_of(path)), ("bytes", path.stat().st_size)):
            patch.setitem(vars(file), name, value)
        drawn = True
    return drawn


def draw(file: WeightFile, path: Path) -> None:
    """Write `path` with random weights, the same every time. Raises LookupError for an unknown format."""
    import torch

    writers = [write for start, write in WRITERS.items() if f"{file.name}/{file.filename}".find(start) >= 0]
    if not writers:
        raise LookupError(f"nobody draws {file.filename} at random: add who does to tests/contract/checkpoints.py")
    torch.manual_seed(3)
    writers[0](path)
