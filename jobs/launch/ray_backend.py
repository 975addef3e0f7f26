"""What Ray Train does for workers before they train: they see one another's GPUs, and that is all."""

from __future__ import annotations

from ray.train.backend import Backend
from ray.train.torch import TorchConfig


class _SharedGpusBackend(Backend):
    share_cuda_visible_devices = True


class SharedGpus(TorchConfig):
    """Ray's own would open torch's store on every address of a node; here the workers do (see `rendezvous`)."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train starts."""
        return _SharedGpusBackend
