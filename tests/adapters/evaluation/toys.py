"""Eight scenes to evaluate on, networks that measure in the simplest way, and a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.image_metrics import Networks
from t2i_shards.adapters.evaluation.report import Evaluation
from t2i_shards.adapters.held_out import write_held_out
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stream import HeldOut
from tests.faults.toys import make_images, run_here

SAMPLES, SIZE = 8, 128


def make_root(folder: Path, seed: int = 0) -> str:
    """Eight scenes with their Canny edges, made in this process."""
    root = str(folder)
    dataset = make_images(root, ScenesSource(SAMPLES, seed=seed), 5, size=SIZE)
    run_here(plan_extract(dataset, ["canny"]), dataset.shards)
    return root


def ask(root: str, adapter: Path, out: Path | None, **changes: Any) -> EvaluateConfig:
    settings: dict[str, Any] = {"samples": 4, "batch": 3, "sampling": Sampling(steps=1, guidance=1)}
    return EvaluateConfig(root, "canny", "tiny", adapter, out, **{**settings, "device": "cpu", **changes})


class Colours:
    name = "the mean colour"

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(pictures.mean(axis=(1, 2)))


class Length:
    name = "the caption's length"

    def __call__(self, pictures: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        return np.array([len(caption) / 100 for caption in captions])


def make_colours(weights: Path | None, device: str) -> Colours:
    return Colours()


TOYS = Networks(make_colours, lambda weights, device: Length(), make_colours)


def numbers(evaluation: Evaluation, name: str) -> list[float | None]:
    return [row.measures[name] for row in evaluation.rows]


def begin_run(folder: Path, adapter: Path, held_out: Sequence[HeldOut] = (), **begun: Any) -> Path:
    """A run's folder with this adapter."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(begun))
    (folder / "adapter").symlink_to(adapter)
    write_held_out(folder, held_out)
    return folder
