"""How good pictures look (kernel distance, FID) and how well they show their captions (CLIP score).

FID (Heusel et al., arXiv 1706.08500): Fréchet distance of the features that Inception-v3 has of generated and of
real pictures; torch-fidelity's port of the original network and its formula. It falls with the number of pictures,
so only values of equally many compare. CLIP score: mean cosine of picture and caption under CLIP ViT-L/14, as the
paper gives it (.2648 for SD on COCO).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from t2i_shards.adapters.evaluation.clip import Clip, ClipFeatures
from t2i_shards.adapters.evaluation.config import EvaluateConfig, FeatureName
from t2i_shards.adapters.evaluation.kernel_distance import MiniFeatures, kernel_distance
from t2i_shards.adapters.evaluation.picture_sets import EvalExamples, Pictures
from t2i_shards.extractors.weights.checkpoints import read_tensors
from t2i_shards.extractors.weights.file import WeightFile, WeightsDamaged, WeightsUnavailable
from t2i_shards.extractors.weights.resolve import resolve

INCEPTION = WeightFile(
    name="inception",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    filename="weights-inception-2015-12-05-6726825d.pth",
    bytes=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    licence="Apache-2.0",
)
BATCH = 16
Unavailable = (WeightsUnavailable, WeightsDamaged)
"""Raised for a network whose weights are not on this machine."""


class FeatureNetwork(Protocol):
    """What FID compares."""

    @property
    def name(self) -> str: ...

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float (N, D)."""
        ...


class CaptionMatcher(Protocol):
    """How well pictures show their captions."""

    @property
    def name(self) -> str: ...

    def __call__(self, pictures: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float (N,)."""
        ...


def collect_features(network: FeatureNetwork, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """float64 (N, D) of pictures of one size, a few at a time."""
    return np.concatenate([network(some).astype(np.float64) for some in _batches(pictures)])


def measure_match(match: CaptionMatcher, pictures: Iterable[np.ndarray], captions: Sequence[str]) -> float:
    """Mean over the pictures. captions: repeated from the start where there are more pictures."""
    scores: list[float] = []
    for some in _batches(pictures):
        said = [captions[(len(scores) + place) % len(captions)] for place in range(len(some))]
        scores.extend(match(some, said).tolist())
    return float(np.mean(scores))


def frechet_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """FID of two sets of features, float64 (N, D) and (M, D), at least two each."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    statistics = [{"mu": f.mean(axis=0), "sigma": np.atleast_2d(np.cov(f, rowvar=False))} for f in (ours, real)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


class Inception:
    """Features of FID: Inception-v3 of 2015, whose resizing is TensorFlow's, through torch-fidelity."""

    name = "Inception-v3 (2015-12-05)"

    def __init__(self, weights: Path | None, device: str) -> None:
        """Raises WeightsUnavailable or WeightsDamaged."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity unpickles whatever it is given: it is given tensors, and nothing else of the file.
        copy = io.BytesIO()
        torch.save(read_tensors(resolve(INCEPTION, weights)), copy)
        copy.seek(0)
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=copy)
        self._network, self._device = network.to(device), device

    @torch.no_grad()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        (features,) = self._network(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self._device))
        return np.asarray(features.cpu().numpy())


def _batches(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    waiting = iter(pictures)
    while some := list(islice(waiting, BATCH)):
        yield np.stack(some)


KERNEL_FEATURES: dict[FeatureName, Callable[[Path | None, str], FeatureNetwork]] = {
    "mini": MiniFeatures,
    "inception": Inception,
    "clip": ClipFeatures,
}


@dataclass(frozen=True)
class Networks:
    """Loads the networks that measure; each may raise WeightsUnavailable or WeightsDamaged.

    kernel: the network whose features the kernel distance compares; the one asked for when None.
    """

    features: Callable[[Path | None, str], FeatureNetwork] = Inception
    match: Callable[[Path | None, str], CaptionMatcher] = Clip
    kernel: Callable[[Path | None, str], FeatureNetwork] | None = None


class Judge:
    """Kernel distance, FID and CLIP score of pictures.

    Each is None, with a note that says why, where its network is not available.
    """

    def __init__(self, config: EvaluateConfig, networks: Networks, device: str, examples: EvalExamples) -> None:
        self.notes: list[str] = []
        self.captions = [example.caption for example in examples]
        kernel = networks.kernel or KERNEL_FEATURES[config.features]
        self._kernel = self._have("Kernel distance", kernel, config.weights, device)
        self._features = self._match = None
        if config.quality:
            self._features = self._have("FID", networks.features, config.weights, device)
            self._match = self._have("CLIP score", networks.match, config.weights, device)
        if self._kernel:
            self._real_kernel = collect_features(self._kernel, (example.picture for example in examples))
            self.notes.append(
                f"Kernel distance (squared maximum mean discrepancy, as in CMMD) by {self._kernel.name}, from the "
                "samples' own pictures; about 0 for pictures of one kind, however many they are."
            )
        if self._features:
            self._real = collect_features(self._features, (example.picture for example in examples))
            self.notes.append(
                f"FID by {self._features.name}, of {len(examples)} pictures against the samples' own, cut "
                "alike: it falls with their number, and only values of equally many compare."
            )
        if self._match:
            self.notes.append(f"CLIP score: mean cosine of picture and caption by {self._match.name}.")

    def __call__(self, pictures: Pictures) -> dict[str, float | None]:
        """distance, fid and clip. pictures: of all samples in order, once for each seed."""
        found: dict[str, float | None] = {"distance": None, "fid": None, "clip": None}
        if self._kernel:
            found["distance"] = kernel_distance(
                collect_features(self._kernel, pictures()), self._real_kernel, paired=True
            )
        if self._features:
            found["fid"] = frechet_distance(collect_features(self._features, pictures()), self._real)
        if self._match:
            found["clip"] = measure_match(self._match, pictures(), self.captions)
        return {name: _finite(value) for name, value in found.items()}

    def _have(self, title: str, make: Callable[[Path | None, str], Any], weights: Path | None, device: str) -> Any:
        try:
            return make(weights, device)
        except Unavailable as error:
            self.notes.append(f"{title} was not measured: {error}.")
            return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
