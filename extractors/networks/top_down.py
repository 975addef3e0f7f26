"""Keypoints of people whose boxes are known, by one of MMPose's top-down networks (HRNet, RTMPose)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.batch import Batch, run_fixed
from t2i_shards.extractors.networks.mmpose_models import CROP, SIMCC

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PADDING = 1.25
"""A person's box grows by this before it is cropped."""
_SHARPNESS = 10.0  # beta of KLDiscretLoss, with which RTMPose was trained


class TopDown:
    """A loaded HRNet or RTMPose on a device. Everything is float32; mmpose's own codec decodes.

    The crop is mmpose's own TopdownAffine: the box, grown and filled up to 192 x 256, black outside the picture.
    The mirrored crop is not looked at (mmpose's flip test is off).
    """

    def __init__(self, model: Any, device: torch.device, batch: int, threads: int) -> None:
        import torch

        self.model = model.to(device, memory_format=torch.channels_last)
        self.device, self.batch, self.threads = device, batch, threads
        normal = model.data_preprocessor
        self.mean, self.std = normal.mean.to(device), normal.std.to(device)

    def __call__(self, batch: Batch, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """boxes: for each picture float (P, 4), left, top, right, bottom, at least a pixel each way; from RTMO or
        from COCO's annotations.

        Returns keypoints for each picture, float32 (P, 17, 3): x and y in its pixels, score 0..1. All people of
        all pictures are one batch.
        """
        import torch
        from mmpose.structures.bbox import bbox_xyxy2cs

        counts = [len(of_picture) for of_picture in boxes]
        owners = np.repeat(np.arange(len(batch)), counts)
        if not len(owners):
            return [np.zeros((0, 17, 3), np.float32) for _ in batch.pictures]
        centers, scales = bbox_xyxy2cs(np.concatenate(boxes).astype(np.float32), PADDING)
        scales = fill(scales)
        people = zip(owners, centers, scales, strict=True)
        crops = np.stack([crop(batch.pictures[owner], center, scale) for owner, center, scale in people])
        maps = run_fixed(self._look, Batch(crops, batch.limit), self.device, self.batch, self.threads)
        keypoints = decode(self.model.head, torch.from_numpy(maps))
        keypoints[..., :2] = keypoints[..., :2] / CROP * scales[:, None] + (centers - 0.5 * scales)[:, None]
        return np.split(keypoints.astype(np.float32), np.cumsum(counts)[:-1])

    def _look(self, crops: Tensor) -> Tensor:
        """uint8 (n, 3, 256, 192) RGB -> heatmaps float32 (n, 17, 64, 48), or SimCC's x and y side by side."""
        import torch

        x = ((crops.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps = self.model.head(self.model.extract_feat(x))
        return torch.cat(maps, dim=2) if isinstance(maps, tuple) else maps


def fill(scales: np.ndarray) -> np.ndarray:
    """Widths and heights (P, 2), the smaller one enlarged to the aspect of a crop."""
    from mmpose.datasets.transforms import TopdownAffine

    return np.asarray(TopdownAffine._fix_aspect_ratio(scales, CROP[0] / CROP[1]), np.float32)


def crop(picture: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """uint8 (256, 192, 3): what lies in the box of that center and scale, each (2,)."""
    from mmpose.datasets.transforms import TopdownAffine

    seen = TopdownAffine(CROP)({"img": picture, "bbox_center": center[None], "bbox_scale": scale[None]})
    return np.asarray(seen["img"])


def decode(head: Any, maps: Tensor) -> np.ndarray:
    """What `_look` returns -> (P, 17, 3): x and y in the crop's pixels, score 0..1.

    A heatmap's peak was trained to be 1 where the keypoint is, and is its score. SimCC's peak may be any number,
    only the differences to the other bins were trained: its score is `sharpness`.
    """
    if maps.ndim == 4:
        found = head.decode(maps)
        scores = np.concatenate([person.keypoint_scores for person in found])
    else:
        x, y = maps.split([round(side * SIMCC["simcc_split_ratio"]) for side in CROP], dim=2)
        found = head.decode((x.contiguous(), y.contiguous()))
        scores = np.minimum(*(sharpness(np.asarray(v), s) for v, s in zip((x, y), SIMCC["sigma"], strict=True)))
    points = np.concatenate([person.keypoints for person in found])
    return np.concatenate([points, scores.clip(0, 1)[..., None]], axis=2)


def sharpness(values: np.ndarray, sigma: float) -> np.ndarray:
    """How sure SimCC is of a keypoint, (..., bins) -> (...): 0 if all bins are alike, 1 if as sharp as its target.

    The loss compares softmax(10 v) with softmax(10 g), g being a Gaussian of height 1: this is the greatest
    probability, on the scale from that of an even distribution to that of the target's. It may pass 1.
    """
    bins = values.shape[-1]
    target = np.exp(-((np.arange(bins) - bins // 2) ** 2) / (2 * sigma**2))
    even = 1 / bins
    return np.asarray((_peak(values) - even) / (_peak(target) - even))


def _peak(values: np.ndarray) -> np.ndarray:
    exact = _SHARPNESS * values.astype(np.float64)
    return np.asarray(1 / np.exp(exact - exact.max(-1, keepdims=True)).sum(-1))
