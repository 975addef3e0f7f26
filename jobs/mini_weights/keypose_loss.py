"""The loss of the mini RTMO: RTMO's outputs and decoding, but people are assigned to cells by position alone.

mmpose's own loss assigns by how well each cell does already (SimOTA), picture by picture in Python, and learns the
coordinates by likelihood only. On scenes, where the middle of each person is known exactly, this is simpler, takes
a third of the time and learns in thousands of steps instead of hundreds of thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 0.1
"""A person's box is that of the known keypoints, wider each way by this share of its longer side."""
_REACH = 1.0  # cells each way from a person's middle that learn about them
_SPREAD = 0.6  # of the score around the best cell, in cells
_SURE = 0.6  # IoU from which on the coordinates are learnt in the predicted box, as they are read at inference


@dataclass(frozen=True, eq=False)
class Targets:
    """score float32 (N, A): the target of each of a picture's A cells.

    Of the cells that are assigned a person: cell (M, 2) number of picture and of cell, prior (M, 2) its middle;
    keypoints (M, 17, 3), box (M, 4) center and size, side (M,) the longer one of the keypoints' own box.
    """

    score: Tensor
    cell: Tensor
    prior: Tensor
    keypoints: Tensor
    box: Tensor
    side: Tensor


def assign(people: list[np.ndarray], rows: int, columns: int, stride: int) -> Targets:
    """`people`: (P, 17, 3) for each picture."""
    y, x = np.mgrid[:rows, :columns]
    priors = (np.stack([x.ravel(), y.ravel()], 1) + 0.5) * stride
    score = np.zeros((len(people), len(priors)), np.float32)
    cells, chosen, keypoints, boxes, sides = [], [], [], [], []
    for number, points in enumerate(people):
        if not len(points):
            continue
        box, side = boxes_of(points)
        away = np.abs(priors[:, None] - box[None, :, :2]) / stride
        square = (away**2).sum(2)
        near = np.exp(-(square - square.min(0)) / (2 * _SPREAD**2)) * (away.max(2) <= _REACH)
        score[number] = near.max(1)
        taken = np.nonzero(score[number])[0]
        owner = near[taken].argmax(1)
        cells.append(np.stack([np.full_like(taken, number), taken], 1))
        chosen.append(priors[taken])
        keypoints.append(points[owner])
        boxes.append(box[owner])
        sides.append(side[owner])
    empty = [np.zeros((0, n)) for n in (2, 2, 4)]
    return Targets(
        torch.from_numpy(score),
        torch.from_numpy(np.concatenate([empty[0], *cells])).long(),
        *(
            torch.from_numpy(np.concatenate(parts)).float()
            for parts in (
                [empty[1], *chosen],
                [np.zeros((0, 17, 3)), *keypoints],
                [empty[2], *boxes],
                [np.zeros(0), *sides],
            )
        ),
    )


def boxes_of(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 17, 3) -> boxes (P, 4) as center and size, with MARGIN; (P,) the longer side without it."""
    known = keypoints[..., 2:] > 0
    low = np.where(known, keypoints[..., :2], np.inf).min(1)
    high = np.where(known, keypoints[..., :2], -np.inf).max(1)
    side = (high - low).max(1)
    return np.concatenate([(low + high) / 2, high - low + 2 * MARGIN * side[:, None]], 1), side


def losses(model: Any, pictures: Tensor, people: list[np.ndarray]) -> dict[str, Tensor]:
    """Names and weighted losses of a batch, float32 (N, 3, S, S); their sum is to be made small."""
    (stride,) = model.head.featmap_strides
    with torch.autocast(pictures.device.type, torch.bfloat16):
        outputs = [level for (level,) in model.head(model.extract_feat(pictures))]
    rows, columns = outputs[0].shape[2:]
    targets = assign(people, rows, columns, stride)
    score, box, offset, seen, pose = (out.float().flatten(2).transpose(1, 2) for out in outputs)
    found = {"score": _score_loss(score[..., 0], targets.score)}
    if not len(targets.cell):
        return found
    at = tuple(targets.cell.T)
    center, size = box[at][:, :2] * stride + targets.prior, box[at][:, 2:].clamp(max=5).exp() * stride
    side, true = targets.side[:, None], targets.keypoints
    known = (true[..., 2] > 0).float()
    found["box"] = 2 * ((center - targets.box[:, :2]).abs() / side).sum(1).mean()
    found["size"] = 0.5 * (size.log() - targets.box[:, 2:].log()).abs().sum(1).mean()
    found["seen"] = F.binary_cross_entropy_with_logits(seen[at], true[..., 2])
    proxy = offset[at].reshape(-1, 17, 2) * stride + targets.prior[:, None]
    found["proxy"] = 2 * _distance(proxy, true, side, known)
    predicted = torch.cat([center, size], 1).detach()
    frame = torch.where(_overlap(predicted, targets.box)[:, None] > _SURE, predicted, targets.box)
    frame = torch.cat([frame[:, :2], frame[:, 2:] * model.head.bbox_padding], 1)
    points, heat, sigma = model.head.dcc.forward_train(pose[at], frame, targets.prior)
    found["points"] = 10 * _distance(points, true, side, known)
    ideal = model.head.dcc.generate_target_heatmap(true[..., :2], frame, sigma, targets.box[:, 2:].prod(1))
    found["heat"] = 50 * model.head.loss_mle(heat, ideal, known).mean()  # the head's own weight is 0.01
    return found


def _score_loss(score: Tensor, target: Tensor) -> Tensor:
    """Varifocal: cells that should say nothing count by how much they say."""
    wrong = 1.5 * score.sigmoid().detach() ** 2
    each = F.binary_cross_entropy_with_logits(score, target, reduction="none")
    return (each * torch.where(target > 0, target.clamp(min=0.1), wrong)).sum() / max(float((target > 0).sum()), 1)


def _distance(points: Tensor, true: Tensor, side: Tensor, known: Tensor) -> Tensor:
    each = (points - true[..., :2]).abs().sum(2) / side
    return (each * known).sum() / known.sum()


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (M, 4) given as center and size."""
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(1)
    return shared / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared)
