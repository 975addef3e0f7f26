"""A batch of pictures that several extractors share: decoded once, brought to a device once.

Extractors with a network run it through `run_fixed`, so that a picture's map depends neither on its neighbours
nor on the size of the batch nor on how many workers share the machine.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


DEVICES = ("cpu", "cuda")

NO_MEMORY = ("can't allocate memory", "not enough memory", "Insufficient memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch's CPU allocator (Linux, Windows), OpenCV and cuBLAS say; their errors have no class of their own."""


class DeviceUnavailable(Exception):
    """There is no such device, or not on this machine; one line."""


class Batch:
    """pictures: uint8 (N, H, W, 3) RGB. Raises ValueError for anything else.

    limit: how many of them a network may take at once; None leaves it to the extractor.
    """

    def __init__(self, pictures: np.ndarray, limit: int | None = None) -> None:
        check_pictures(pictures)
        self.pictures = pictures
        self.limit = limit
        self._tensors: dict[str, Tensor] = {}
        self._part_of: tuple[Batch, slice] | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def on(self, device: torch.device) -> Tensor:
        """uint8 (N, 3, H, W), channels last in memory; uploaded by the first who asks."""
        import torch

        if self._part_of:
            whole, here = self._part_of
            return whole.on(device)[here]
        name = str(device)
        if name not in self._tensors:
            self._tensors[name] = torch.from_numpy(self.pictures).to(device).permute(0, 3, 1, 2)
        return self._tensors[name]

    def split(self, count: int | None, limit: int | None = None) -> Iterator[Batch]:
        """The pictures in order, at most `count` together, with that limit; they share what is uploaded."""
        count = count or len(self)
        for start in range(0, len(self), count):
            here = slice(start, start + count)
            part = Batch(self.pictures[here], limit)
            part._part_of = (self, here)
            yield part


def as_batch(pictures: np.ndarray | Batch) -> Batch:
    """The batch itself, or a batch of these pictures."""
    return pictures if isinstance(pictures, Batch) else Batch(pictures)


def run_fixed(
    network: Callable[[Tensor], Tensor], batch: Batch, device: torch.device, size: int, threads: int
) -> np.ndarray:
    """`network` over the batch in pieces of a fixed size; what it returns, (N, ...), brought to the host.

    network: uint8 (size, 3, H, W) on `device` -> (size, ...), in float32 whatever autocast the caller is in, which
    PiDiNet's edges do not survive. A convolution's sums may differ in the last bit with the batch size, so it
    never varies: on the CPU it is 1 (larger ones are slower), on a GPU `size` (or the batch's limit if that is
    less), the last piece filled up with itself.
    """
    import torch

    size = 1 if device.type == "cpu" else min(size, batch.limit or size)
    pieces = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(deterministic=True, allow_tf32=False),
        fixed_threads(threads),
    ):
        pictures = batch.on(device)
        for start in range(0, len(batch), size):
            piece = pictures[start : start + size]
            count = len(piece)
            filled = piece if count == size else piece[torch.arange(size) % count]
            pieces.append(network(filled)[:count])
        # Brought over together: a copy per piece would leave the GPU waiting in between.
        return np.asarray(torch.cat(pieces).cpu())


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, then on as many as before.

    Fixed, because torch picks other kernels for one thread than for several, and a pixel here and there then
    rounds to its neighbour.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_device() -> str:
    """The name of this machine's GPU if torch can use one, else of its CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_device(name: str) -> torch.device:
    """The device of this name ("cpu", "cuda"). Raises DeviceUnavailable."""
    import torch

    if name not in DEVICES:
        raise DeviceUnavailable(f"a device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("device cuda needs a GPU, and this machine has none that torch can use")
    return torch.device(name)


def check_pictures(pictures: np.ndarray) -> None:
    """Raises ValueError unless `pictures` is a batch (N, H, W, 3) of uint8 with at least one pixel each."""
    if pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape[1:] or pictures.dtype != np.uint8:
        raise ValueError(
            f"pictures must be uint8 (N, H, W, 3), H and W >= 1, got {pictures.dtype} {pictures.shape}"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that a smaller batch may succeed."""
    names = [cls.__name__ for cls in type(error).__mro__]
    # By name: torch (OutOfMemoryError) and OpenCV (error) may not be loaded.
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return True
    return ("RuntimeError" in names or "error" in names) and any(part in str(error) for part in NO_MEMORY)


def free_memory() -> None:
    """Give back what is no longer used; torch keeps freed memory of a GPU for itself otherwise."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
