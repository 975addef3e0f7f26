"""The extractors that the contract suite runs on: every condition and variant that is registered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.registry import EXTRACTORS, make_extractor, weight_files
from t2i_shards.extractors.weights import resolve as weights
from tests.conftest import ASSETS
from tests.contract.checkpoints import provide

LARGE = ("depth", "keypose", "seg", "latents")
"""Their published networks take minutes of this suite: `make soak` runs it on them."""


def marks(condition: str, variant: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.soak] if condition in LARGE and variant != "mini" else []


REGISTERED = [(condition, variant) for condition, variants in EXTRACTORS.items() for variant in variants]
SUITE = [
    pytest.param((condition, variant), id=f"{condition}-{variant}", marks=marks(condition, variant))
    for condition, variant in REGISTERED
]


@dataclass(frozen=True)
class Registered:
    """A loaded extractor, and how it was asked for.

    drawn: its weights are drawn at random. Its network is then one of the large ones, and a picture of 512x512
    would take up to ten seconds: what does not depend on the size is tested on small pictures.
    """

    condition: str
    variant: str
    weights: Path | None
    drawn: bool
    extractor: Extractor


def no_network(*args: object) -> Path:
    raise ConnectionError("tests download nothing")


@pytest.fixture(scope="module", params=SUITE)
def registered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """Loaded on the CPU."""
    import torch

    condition, variant = request.param
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "fetch_from_hub", no_network)
        patch.setattr(weights, "fetch_from_url", no_network)
        patch.setenv("T2I_SHARDS_CACHE", str(folder / "cache"))
        files = weight_files(condition, variant)
        drawn = provide(files, folder, ASSETS, patch)
        extractor = make_extractor(condition, variant, folder)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        extractor.load("cpu")
        yield Registered(condition, variant, folder, drawn, extractor)
        torch.set_num_threads(threads)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def extractor(registered: Registered) -> Extractor:
    return registered.extractor


@cache
def photograph() -> np.ndarray:
    """uint8 (512, 512, 3) RGB, a picture that scikit-image carries."""
    from skimage.data import astronaut

    return np.asarray(astronaut())


def crop(height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """A part of the photograph; beyond its sides it starts again."""
    rows, columns = np.arange(top, top + height) % 512, np.arange(left, left + width) % 512
    return photograph()[rows][:, columns]
