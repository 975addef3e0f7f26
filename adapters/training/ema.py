"""A moving average of an adapter's weights, which is smoother than the last ones."""

from __future__ import annotations

import copy

import torch

from t2i_shards.adapters.model.adapter import Adapter


class Ema:
    """decay: of the average at each step; lower in the first ones, when there is little to average."""

    def __init__(self, adapter: Adapter, decay: float) -> None:
        self.adapter = copy.deepcopy(adapter).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, adapter: Adapter, step: int) -> None:
        """Take in the weights after `step` steps."""
        decay = min(self._decay, step / (step + 10))
        own, new = ([p.detach() for p in a.parameters()] for a in (self.adapter, adapter))
        torch._foreach_lerp_(own, new, 1 - decay)
