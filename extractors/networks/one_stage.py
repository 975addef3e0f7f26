"""People in whole pictures, by one of MMPose's one-stage networks (RTMO)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.batch import Batch, run_fixed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST = 64
"""People kept of a picture, the best ones."""
GREY = (114, 114, 114)
_FIELDS = 5 + 17 * 3


@dataclass(frozen=True, eq=False)
class Found:
    """The people in one picture, best first, float32, in its pixels.

    boxes (P, 4): left, top, right, bottom. scores (P,): 0..1. keypoints (P, 17, 3): x, y, score 0..1.
    """

    boxes: np.ndarray
    scores: np.ndarray
    keypoints: np.ndarray


class OneStage:
    """A loaded RTMO on a device. Everything is float32, decoding too; mmpose's own NMS merges a person's boxes.

    It sees BGR, 0..255.
    """

    def __init__(self, model: Any, device: torch.device, threshold: float, batch: int, threads: int) -> None:
        """`threshold`: the least score of a person."""
        import torch

        self.model = model.to(device, memory_format=torch.channels_last)
        self.side: int = model.test_cfg["input_size"][0]
        self.rules = {**model.test_cfg, "score_thr": threshold}
        self.device, self.batch, self.threads = device, batch, threads

    def __call__(self, batch: Batch) -> list[Found]:
        """The people in each picture. Raises ValueError where the network gives a number that is not finite."""
        placed = [view(picture, self.side) for picture in batch.pictures]
        seen = Batch(np.stack([place["img"] for place in placed]), batch.limit)
        rows = run_fixed(self._find, seen, self.device, self.batch, self.threads)
        if not np.isfinite(rows).all():  # it would look like a picture without people later
            raise ValueError("the network must give finite numbers, some are infinite or NaN")
        return [in_picture(row, place) for row, place in zip(rows, placed, strict=True)]

    def _find(self, pictures: Tensor) -> Tensor:
        """uint8 (n, 3, S, S) RGB -> float32 (n, MOST, _FIELDS): box, score, keypoints; score 0: no person."""
        import torch
        from mmpose.structures import PoseDataSample

        x = pictures.flip(1).float().contiguous(memory_format=torch.channels_last)
        samples = [PoseDataSample(metainfo={"input_size": (self.side, self.side)}) for _ in pictures]
        found = self.model.head.predict(self.model.extract_feat(x), samples, self.rules)
        rows = torch.zeros(len(pictures), MOST, _FIELDS)
        for row, people in zip(rows, found, strict=True):
            points = np.concatenate([people.keypoints, people.keypoint_scores[..., None]], axis=2)
            count = len(points)
            fields = np.concatenate([people.bboxes, people.scores[:, None], points.reshape(count, 17 * 3)], axis=1)
            row[:count] = torch.from_numpy(fields[:MOST])
        return rows


def view(picture: np.ndarray, side: int) -> dict[str, Any]:
    """What the network sees, "img" uint8 (side, side, 3), and where that lies in the picture.

    The picture is scaled to fit, up or down, its aspect kept, and centred on grey: mmpose's own BottomupResize.
    """
    from mmpose.datasets.transforms import BottomupResize

    placed: dict[str, Any] = BottomupResize((side, side), pad_val=GREY)(
        {"img": picture, "ori_shape": picture.shape[:2]}
    )
    return placed


def in_picture(row: np.ndarray, place: Mapping[str, Any]) -> Found:
    """A row of `OneStage._find` in the picture's pixels, as mmpose's add_pred_to_datasample."""
    row = row[row[:, 4] > 0]
    size, scale, center = (np.asarray(place[f"input_{name}"], np.float32) for name in ("size", "scale", "center"))

    def back(points: np.ndarray) -> np.ndarray:
        return np.asarray(points / size * scale + center - 0.5 * scale, np.float32)

    keypoints = row[:, 5:].reshape(-1, 17, 3)
    keypoints[..., :2] = back(keypoints[..., :2])
    return Found(back(row[:, :4].reshape(-1, 2, 2)).reshape(-1, 4), row[:, 4], keypoints)
