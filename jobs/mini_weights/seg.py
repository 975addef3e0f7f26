"""Train the small segmentation network on the scenes' exact labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.networks.mini import SEG_LABELS, SmallSeg
from t2i_shards.extractors.networks.spec import IMAGENET_MEAN, IMAGENET_STD
from t2i_shards.jobs.mini_weights.scenes import Views
from t2i_shards.jobs.mini_weights.train import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

QUARTER = 4


def loss(network: nn.Module, views: Views, step: int) -> Tensor:
    """Cross-entropy of the scores at a quarter of the sides, each against one of the 16 pixels it covers.

    Each class of a batch is weighted by the square root of its pixels: objects are small compared with walls and
    skies.
    """
    import torch
    from torch.nn import functional as F

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    x = (torch.from_numpy(views.picture).float() / 255 - mean) / std
    scores = network.small(x.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
    channel = np.zeros(256, np.int64)
    channel[list(SEG_LABELS)] = np.arange(len(SEG_LABELS))
    truth = torch.from_numpy(
        channel[views.labels[:, step // QUARTER % QUARTER :: QUARTER, step % QUARTER :: QUARTER]]
    )
    count = torch.bincount(truth.flatten(), minlength=len(SEG_LABELS)).float()
    return F.cross_entropy(scores, truth, count.clamp(min=64).rsqrt())


TASK = Task("seg", SmallSeg, loss, cycles=(2400, 3000, 6000), batch=8, rate=2e-3)
