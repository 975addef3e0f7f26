"""One training step: the gradients of all micro-batches on all workers, then Adam, then the moving average.

The learning rate is a function of the step's number alone, so that a run resumes with no state of it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.training.batch import Batch
from t2i_shards.adapters.training.config import OptimizerConfig
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.loader import RankBatch
from t2i_shards.adapters.training.loss import Network, Objective
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.pipeline.errors import RequestError


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Of step `step` (0 is the first) of `steps`.

    It rises linearly to the full rate at the last step of the warm-up. A cosine then takes it to 0, which the step
    after the last one would have. So it is in `diffusers.optimization`, but for a first step at 0 there.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / (steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def check_warmup(config: OptimizerConfig, steps: int) -> None:
    """RequestError for a warm-up that the training would not outlast."""
    if config.warmup_steps >= steps:
        raise RequestError(
            f"--warmup-steps must be below the {steps} steps of the training, not {config.warmup_steps}"
        )


def make_rank_batch(config: OptimizerConfig, world: World) -> RankBatch:
    """How a global batch is shared. RequestError when it cannot be in equal parts."""
    own, rest = divmod(config.batch, world.world_size)
    if rest:
        raise RequestError(f"--batch must be a multiple of the {world.world_size} workers, not {config.batch}")
    micro = config.micro_batch or own
    if own % micro:
        raise RequestError(f"--micro-batch must divide the {own} samples of a worker, and {micro} does not")
    return RankBatch(config.batch, micro, world.rank, world.world_size)


def _join_gradients(adapter: Adapter, device: torch.device) -> DistributedDataParallel:
    """The adapter, whose gradients become the mean over the workers as they are computed.

    After its first backward pass torch rearranges which gradients travel together, and with more than two workers
    that decides in which order they are added up. It has one here, so that a resumed run adds like one that never
    stopped.
    """
    together = DistributedDataParallel(adapter)
    nothing = torch.zeros(1, adapter.config.in_channels, SIZE_MULTIPLE, SIZE_MULTIPLE, device=device)
    torch.stack([feature.sum() for feature in together(nothing)]).sum().backward()
    adapter.zero_grad()
    return together


class Step:
    """Takes a step when called, and knows what it took. clip: norm to which gradients are scaled down, or None.

    lr: the learning rate of the next step. waited: seconds of the last step in which it waited for data. taken:
    whether Adam moved the weights; they stay as they are where the loss or the gradients are not finite.
    """

    def __init__(
        self,
        objective: Objective,
        adapter: Adapter,
        config: OptimizerConfig,
        rank_batch: RankBatch,
        world: World,
        clip: float | None = None,
    ) -> None:
        self._objective, self._rank_batch, self._world, self._clip = objective, rank_batch, world, clip
        self._parameters = list(adapter.parameters())
        fused = world.device.type == "cuda"
        decay = config.weight_decay
        self.optimizer = torch.optim.Adam(
            self._parameters, lr=config.lr, weight_decay=decay, decoupled_weight_decay=decay > 0, fused=fused
        )
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=objective.precision == "fp16")
        self._network: Network = adapter
        self._alone: Any = nullcontext
        if world.world_size > 1:
            together = _join_gradients(adapter, world.device)
            self._network, self._alone = together, together.no_sync
        self.waited, self.taken, self.lr = 0.0, True, config.lr

    def __call__(self, batches: Iterator[Batch]) -> float:
        """The mean loss over the global batch, before the weights moved; it need not be finite."""
        self.waited = 0.0
        total = torch.zeros((), device=self._world.device)
        for part in range(self._rank_batch.parts):
            started = time.perf_counter()
            batch = next(batches)
            self.waited += time.perf_counter() - started
            with self._gradients(last=part == self._rank_batch.parts - 1):
                noisy = self._objective.add_noise(batch)
                loss = self._objective.loss(self._network, noisy) / self._rank_batch.parts
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if self._world.world_size > 1:
            distributed.all_reduce(total)
        self.scaler.unscale_(self.optimizer)
        loss, norm = torch.stack([total, self._clip_gradients()]).tolist()
        # Gradients that overflow because of the scale are left to the scaler: it skips the step and lowers the
        # scale.
        self.taken = math.isfinite(loss) and (math.isfinite(norm) or self.scaler.is_enabled())
        if self.taken:
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return float(loss) / self._world.world_size

    def _clip_gradients(self) -> torch.Tensor:
        """Scale them down where their norm is above the bound. The norm they had, a scalar."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip, norm)
        return norm

    def _gradients(self, last: bool) -> AbstractContextManager[object]:
        """Workers exchange gradients once a step, while the last micro-batch's are computed."""
        alone: AbstractContextManager[object] = nullcontext() if last else self._alone()
        return alone


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
