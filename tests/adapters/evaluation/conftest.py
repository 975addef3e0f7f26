"""A dataset, an adapter, and a base whose pictures are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.base.tiny import WIDTHS
from t2i_shards.adapters.evaluation import evaluate as module
from t2i_shards.adapters.evaluation import picture_sets
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.stream import open_stream
from tests.adapters.evaluation.toys import SIZE, make_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_root(tmp_path_factory.mktemp("evaluate") / "root")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(make_adapter(adapter_config_for("tiny", 1, WIDTHS["sd"]), 0), folder)
    return folder


@pytest.fixture
def obedient(root: str, tiny: Base, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """In place of a base: a control image gives the picture that it was made from, none gives grey, and the
    autoencoder is lossless. Yields the captions of each call.
    """
    pictures: dict[bytes, np.ndarray] = {}
    for sample in open_stream(root, ["canny"]).samples(0):
        condition_map = format_of("canny").decode({"canny.png": bytes(sample.members["canny.png"])})
        pictures[(condition_map > 127).tobytes()] = decode_rgb(sample.members["jpg"])
    calls: list[list[str]] = []

    def paint(
        base: Any, adapter_inputs: Sequence[AdapterInput], captions: list[str], *others: Any, **options: Any
    ) -> np.ndarray:
        calls.append(captions)
        if not adapter_inputs:
            return np.full((len(captions), SIZE, SIZE, 3), 128, np.uint8)
        return np.stack(
            [
                pictures[(control_image[0] > 0.5).numpy().tobytes()]
                for control_image in adapter_inputs[0].control_images
            ]
        )

    monkeypatch.setattr(picture_sets, "generate", paint)
    monkeypatch.setattr(module, "load_base", lambda *asked: tiny)
    monkeypatch.setattr(module, "_reconstruct", lambda base, examples: (example.picture for example in examples))
    return calls
