"""FID by hand, and published networks compared with the libraries they come from."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t2i_shards.adapters.evaluation import clip
from t2i_shards.adapters.evaluation import image_metrics as quality
from t2i_shards.adapters.evaluation.clip import Clip
from t2i_shards.adapters.evaluation.image_metrics import (
    Inception,
    collect_features,
    frechet_distance,
    measure_match,
)
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable


def blob(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """float64 (2D, D): features of just this mean and this diagonal covariance."""
    dimensions = len(mean)
    corners = np.concatenate([np.eye(dimensions), -np.eye(dimensions)])
    return np.asarray(mean + corners * np.sqrt(spread * (2 * dimensions - 1) / 2))


def test_fid_of_independent_features_is_the_sum_by_hand() -> None:
    """Sum over the dimensions of (m1 - m2)^2 + (s1 - s2)^2, with standard deviations s."""
    means, spreads = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -2.0]]), np.array([[1.0, 4.0, 9.0], [4.0, 4.0, 0.25]])
    ours, real = (blob(mean, spread) for mean, spread in zip(means, spreads, strict=True))
    by_hand = ((means[0] - means[1]) ** 2 + (np.sqrt(spreads[0]) - np.sqrt(spreads[1])) ** 2).sum()
    assert by_hand == 9 + 0 + 16 + 1 + 0 + 6.25
    assert frechet_distance(ours, real) == pytest.approx(by_hand, rel=1e-9)


def test_fid_of_features_that_depend_on_each_other() -> None:
    """With the matrix root by its own definition: R R = S1^(1/2) S2 S1^(1/2)."""
    rng = np.random.default_rng(0)
    ours, real = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(30, 4)) + 1
    first, second = np.cov(ours.T), np.cov(real.T)
    values, vectors = np.linalg.eigh(first)
    half = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    root = np.sqrt(np.linalg.eigvalsh(half @ second @ half)).sum()
    by_hand = ((ours.mean(0) - real.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(ours, real) == pytest.approx(by_hand, rel=1e-9)
    assert frechet_distance(ours, real) == pytest.approx(frechet_distance(real, ours))
    assert frechet_distance(ours, ours[::-1]) == pytest.approx(0, abs=1e-6)


class MeanColour:
    name = "the mean colour"

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(pictures.mean(axis=(1, 2)))


def shades(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_features_and_scores_are_collected_in_order_over_batches() -> None:
    pictures = shades(2 * quality.BATCH + 3)
    features = collect_features(MeanColour(), iter(pictures))
    assert features.dtype == np.float64
    assert np.array_equal(features, pictures.mean(axis=(1, 2)))
    captions = [str(place) for place in range(len(pictures))]
    seen: list[str] = []

    class Notes:
        name = "notes"

        def __call__(self, pictures: np.ndarray, captions: Any) -> np.ndarray:
            seen.extend(captions)
            return np.array([float(caption) for caption in captions])

    assert measure_match(Notes(), iter(pictures), captions) == np.mean(range(len(pictures)))
    assert seen == captions


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A folder with weights of the architecture, drawn at random, and torch-fidelity's network with them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with monkeypatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, tensors: None)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("toy", ["2048"], feature_extractor_weights_path=empty)
    path = tmp_path / quality.INCEPTION.filename
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(quality, "INCEPTION", replace(quality.INCEPTION, sha256=digest))
    return tmp_path, network


def test_inception_is_torch_fidelitys_with_verified_weights(inception: tuple[Path, Any]) -> None:
    folder, network = inception
    pictures = shades(2)
    features = Inception(folder, "cpu")(pictures)
    assert features.shape == (2, 2048)
    with torch.no_grad():
        assert np.array_equal(features, network(torch.from_numpy(pictures.transpose(0, 3, 1, 2)))[0].numpy())
    (folder / quality.INCEPTION.filename).write_bytes(b"other")
    with pytest.raises(WeightsDamaged):
        Inception(folder, "cpu")


def test_without_weights_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(clip, "FILES", [replace(file, url="https://x", hub="") for file in clip.FILES])
    for make, named in ((Inception, "weights-inception"), (Clip, "model.safetensors")):
        with pytest.raises(WeightsUnavailable, match=named) as missing:
            make(None, "cpu")
        assert "\n" not in str(missing.value)
