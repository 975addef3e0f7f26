"""A script that `accelerate` users would write, started in each rank: python accelerate_reader.py ROOT FOLDER.

FOLDER/<rank>.json holds what was refused, and the keys that each way of reading gave this rank.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, IterableDataset

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import open_stream

START = 1
"""An even number of samples is left, of which accelerate repeats none."""


class Epoch(IterableDataset[torch.Tensor]):
    """The places of the samples' keys in the sorted list of all."""

    def __init__(self, root: str, **share: int) -> None:
        self.stream, self.share = open_stream(root, []), share
        self.keys = sorted(sample.key for sample in self.stream.samples(1, START, ranks=1))

    def __iter__(self) -> Iterator[torch.Tensor]:
        samples = self.stream.samples(1, START, **self.share)
        return (torch.tensor(self.keys.index(sample.key)) for sample in samples)


def read(loader: Any) -> list[int]:
    return [int(place) for places in loader for place in places]


def main(root: str, folder: Path) -> None:
    accelerator = Accelerator(cpu=True)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    said: dict[str, Any] = {"ranks": ranks}
    try:
        read(DataLoader(Epoch(root), batch_size=3))
    except RequestError as error:
        said["refused"] = str(error)
    own = DataLoader(Epoch(root, rank=rank, ranks=ranks), batch_size=3, num_workers=2)
    said["own"] = read(own)
    for name, dispatched in (("dispatched", True), ("divided", False)):
        dividing = Accelerator(
            cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=dispatched, even_batches=False)
        )
        said[name] = read(dividing.prepare(DataLoader(Epoch(root, ranks=1), batch_size=1)))
    (folder / f"{rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
