"""Sketch: PiDiNet's soft edge, as the published sketch adapter saw it.

RGB / 255, no mean and no standard deviation, the fused last output. controlnet_aux feeds BGR, the network's
own repository normalises with ImageNet statistics: their edges agree with these only to an IoU of 0.82-0.94
and 0.60-0.78.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extractors.base import Resources, check_pictures
from extractors.formats import FORMATS
from extractors.weights import WeightFile, resolve

if TYPE_CHECKING:
    from torch import Tensor

TABLE5 = WeightFile(
    name="pidinet",
    hub="lllyasviel/Annotators",
    revision="982e7edaec38759d914a963c48c4726685de7d96",
    filename="table5_pidinet.pth",
    bytes=2_871_148,
    sha256="80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c",
    licence="research only; commercial use by asking the authors",
)
GPU_BATCH = 8


class Sketch:
    """Extractor of the sketch map: uint8 (H, W), round(255 * edge), so that `map > 127` is `edge >= 0.5`."""

    condition = "sketch"
    format = FORMATS["sketch"]
    resources = Resources(cpus=1.0, gpus=0.25, memory=1 << 30)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant
        self.weights = weights

    def recipe(self) -> dict[str, Any]:
        resolve(TABLE5, self.weights)
        return {
            "extractor": "sketch",
            "version": 1,
            "variant": self.variant,
            "weights": TABLE5.recipe(),
            "parameters": {"network": "PiDiNet table5", "input": "RGB/255", "output": "fused"},
        }

    def load(self, device: str) -> None:
        """Build the network on `device` ("cpu", "cuda")."""
        import torch

        from extractors.pidinet import load_pidinet

        self.device = torch.device(device)
        network = load_pidinet(resolve(TABLE5, self.weights))
        self.network = network.to(memory_format=torch.channels_last).to(self.device)

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        check_pictures(pictures)
        # A convolution's sums may differ in the last bit with the batch size, so the size never varies: on
        # the CPU one (larger ones are slower), on a GPU GPU_BATCH, the last batch filled up with itself.
        size = 1 if self.device.type == "cpu" else GPU_BATCH
        maps: list[np.ndarray] = []
        with _threads(int(self.resources.cpus)):
            for start in range(0, len(pictures), size):
                batch = pictures[start : start + size]
                filled = batch[np.arange(size) % len(batch)]
                maps.extend(self._edges(filled)[: len(batch)])
        return maps

    def _edges(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 -> (N, H, W) uint8; sides are padded to the network's stride, never resized."""
        import torch
        from torch.nn import functional as F

        from extractors.pidinet import STRIDE

        height, width = pictures.shape[1:3]
        with torch.inference_mode(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            x: Tensor = torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2).float() / 255
            x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
            edge = self.network(x.contiguous(memory_format=torch.channels_last))[:, 0, :height, :width]
            return np.asarray((edge * 255).round().to(torch.uint8).cpu())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, then on as many as before.

    Fixed, because torch picks other kernels for one thread than for several, and a pixel here and there then
    rounds to its neighbour: a map must not depend on how many workers share a machine.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
