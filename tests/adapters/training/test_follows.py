"""End to end in small: pictures follow an adapter that was trained for seconds on the base mini."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from t2i_shards.adapters.base.mini import FOLDER
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.evaluate import evaluate
from t2i_shards.adapters.evaluation.image_metrics import Networks
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.training.trainer import train
from t2i_shards.extractors.weights.file import WeightsUnavailable
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages import plan_extract
from tests.adapters.toys import train_config
from tests.faults.toys import make_images, run_here

LEARNT, HELD_OUT = 64, 24


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Simple scenes with their edges, and the latents of the base mini."""
    root = str(tmp_path_factory.mktemp("follows") / "root")
    source = ScenesSource(LEARNT + HELD_OUT, 20, "simple")
    dataset = make_images(root, source, LEARNT + HELD_OUT, ("sketch",), size=128)
    run_here(plan_extract(dataset, ["latents"], variant="folder", weights=FOLDER), dataset.shards)
    return root


def missing(*asked: Any) -> Any:
    raise WeightsUnavailable("not measured here")


def test_a_sketch_is_followed_after_seconds_of_training(root: str, tmp_path: Path) -> None:
    train(
        train_config(
            roots=(root,),
            condition="sketch",
            out=tmp_path,
            base="mini",
            steps=50,
            batch=16,
            lr=3e-3,
            timesteps="uniform",
            latents="latents",
            validation=HELD_OUT,
            validate_every=1000,
            checkpoint_every=1000,
            threads=1,
            device="cpu",
        )
    )
    asked = EvaluateConfig(
        root,
        "sketch",
        "mini",
        tmp_path,
        sampling=Sampling(steps=8, guidance=1.0),
        variant="mini",
        device="cpu",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    evaluation = evaluate(asked, networks=Networks(missing, missing, missing))
    torch.set_num_threads(threads)
    assert evaluation.about["held_out"] == HELD_OUT
    assert evaluation.verdict is not None
    assert evaluation.verdict.followed, evaluation.verdict.line()
    with_adapter, *without, chance, follows = (row.measures["edge_f1"] or 0 for row in evaluation.rows[:5])
    assert min(with_adapter, follows) > max(*without, chance) + 0.03
