"""How far two sets of pictures are apart, as the encoder of the small segmentation network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from jobs.mini_weights.base.found import SEEN_AT

if TYPE_CHECKING:
    from extractors.segmentation import Segmentation

STAGES = 3
"""The last of the encoder's stages."""


def see_features(pictures: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    """float64 (N, D): the mean of each channel of the last stages, for pictures uint8 (N, S, S, 3)."""
    import torch

    found = []
    for picture in pictures:
        large = cv2.resize(picture, (SEEN_AT, SEEN_AT), interpolation=cv2.INTER_CUBIC)
        x = segmentation.published.see(torch.from_numpy(large).permute(2, 0, 1)[None])
        with torch.no_grad():
            stages = segmentation.network.decoder.encoder(x)[-STAGES:]  # type: ignore[operator, union-attr]
        found.append(torch.cat([stage.mean(dim=(0, 2, 3)) for stage in stages]).double().numpy())
    return np.stack(found)


def kernel_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Squared maximum mean discrepancy of two sets of features, without bias: about 0 for sets of one kind.

    A Gaussian kernel, as in CMMD (Jayasumana et al., arXiv 2401.09603), as wide as the real ones' median distance,
    on features brought to the real ones' deviation.
    """
    scale = real.std(axis=0) + 1e-6
    a, b = ours / scale, real / scale

    def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = x @ y.T
        return np.asarray((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * product)

    width = float(np.median(squares(b, b)[np.triu_indices(len(b), 1)]))
    kernel = [np.exp(-squares(x, y) / width) for x, y in ((a, a), (b, b), (a, b))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    return float(sum(within) - 2 * kernel[2].mean())
