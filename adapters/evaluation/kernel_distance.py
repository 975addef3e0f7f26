"""How far two sets of pictures are apart, in a way that means something for a few hundred of them.

FID compares means and covariances, and needs thousands of pictures for these. The maximum mean discrepancy
under a kernel has an estimate without bias for any number (CMMD, Jayasumana et al., arXiv 2401.09603). It is of
the features that a network has of the pictures, by default those of the segmentation network that ships.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from t2i_shards.extractors.segmentation import Segmentation

SEEN_AT = 256
"""Side to which pictures are brought for the segmentation network, which was trained on such."""
STAGES = 3
"""The last of its encoder's stages."""


class MiniFeatures:
    """The mean of each channel of the last stages of the small segmentation network's encoder."""

    name = "the mini segmentation network"

    def __init__(self, weights: Path | None, device: str) -> None:
        """weights: unused, as the network ships."""
        from t2i_shards.extractors.segmentation import Segmentation

        self._segmentation = Segmentation("mini", None)
        self._segmentation.load(device)
        self._device = device

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float64 (N, D)."""
        return see_features(pictures, self._segmentation, self._device)


def see_features(pictures: np.ndarray, segmentation: Segmentation, device: str = "cpu") -> np.ndarray:
    """float64 (N, D) of uint8 (N, H, W, 3), by a mini segmentation network that is loaded on the device."""
    import torch

    found = []
    for picture in pictures:
        large = cv2.resize(picture, (SEEN_AT, SEEN_AT), interpolation=cv2.INTER_CUBIC)
        x = segmentation.published.see(torch.from_numpy(large).permute(2, 0, 1)[None].to(device))
        with torch.no_grad():
            stages = segmentation.network.decoder.encoder(x)[-STAGES:]  # type: ignore[operator, union-attr]
        found.append(torch.cat([stage.mean(dim=(0, 2, 3)) for stage in stages]).double().cpu().numpy())
    return np.stack(found)


def kernel_distance(ours: np.ndarray, real: np.ndarray, paired: bool = False) -> float:
    """Squared maximum mean discrepancy of two sets of features, without bias: about 0 for sets of one kind.

    float64 (N, D) and (M, D), at least two each. The kernel is Gaussian, as wide as the median distance of the
    real ones, on features brought to the real ones' deviation.

    paired: picture i of ours belongs to the same sample as picture i % M of the real ones. Such pairs are left
    out, as they are nearer to each other than pictures of one kind are.
    """
    scale = real.std(axis=0) + 1e-6
    a, b = ours / scale, real / scale

    def squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = x @ y.T
        return np.asarray((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * product)

    width = float(np.median(squares(b, b)[np.triu_indices(len(b), 1)]))
    kernel = [np.exp(-squares(x, y) / width) for x, y in ((a, a), (b, b), (a, b))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    count = len(b)
    others = np.arange(len(a))[:, None] % count != np.arange(count) if paired else np.full((len(a), count), True)
    return float(sum(within) - 2 * kernel[2][others].mean())
