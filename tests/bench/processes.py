"""Samples per CPU second of the whole world: 1, 2 and 4 loader processes, each reader as its own users set it up.

Every reader gives a torch DataLoader's batches of decoded tensors: ours verified from the columns, webdataset and
HF datasets from the published tars, litdata and MosaicML streaming from their own formats. SPDL has as many
threads of one process, which is its way. CPU time is that of this process and of all workers, with their start.
The last three are measured where they are installed (`pip install litdata mosaicml-streaming spdl`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

from t2i_shards import ShardDataset
from t2i_shards.extractors.maps import png
from t2i_shards.pipeline.image.stored import decode_rgb
from tests.bench import stream
from tests.bench.measure import Row, rates_in_turns

PROCESSES, BATCH, ROUNDS = (1, 2, 4), 10, 3
Loader = Callable[[int], Iterable[Any]]
"""Number of processes -> the batches of one epoch."""


def bench(folder: Path) -> list[Row]:
    torch.set_num_threads(1)  # as in a DataLoader's worker
    root, published, samples = stream.make(folder)
    loaders: dict[str, Loader] = {
        "ours": lambda n: load(ShardDataset(root, ["canny"], batch_size=BATCH, decode=False, transform=decode), n),
        "webdataset": lambda n: load(stream.read_webdataset(published)().map(decode), n),
        "HF datasets": lambda n: load(
            stream.stream_datasets(published).map(decode_unwrapped).select_columns(FIELDS), n
        ),
    }
    if importlib.util.find_spec("litdata"):
        loaders["litdata"] = load_litdata(samples, folder / "litdata")
    if importlib.util.find_spec("streaming"):
        loaders["MosaicML streaming"] = load_mosaic(samples, folder / "mosaic")
    if importlib.util.find_spec("spdl"):
        loaders["SPDL, threads"] = lambda n: load_spdl(published, n)
    return [row for processes in PROCESSES for row in compare(loaders, len(samples), processes)]


def compare(loaders: dict[str, Loader], count: int, processes: int) -> list[Row]:
    def read(make: Loader) -> int:
        return sum(len(batch["image"]) for batch in make(processes))

    runs = {name: partial(read, make) for name, make in loaders.items()}
    rates = rates_in_turns(runs, count, cpu_seconds, ROUNDS)
    ours = rates.pop("ours")
    return [
        stream.row(f"{processes} loader processes, against {name}", ours, theirs, "")
        for name, theirs in rates.items()
    ]


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


FIELDS = ["image", "control_image", "caption"]


def decode(members: stream.Members) -> dict[str, Any]:
    return {
        "image": torch.from_numpy(decode_rgb(members["jpg"])),
        "control_image": torch.from_numpy(png.decode_grey(members["canny.png"])),
        "caption": stream.text(members["txt"]),
    }


def decode_unwrapped(sample: dict[str, Any]) -> dict[str, Any]:
    return decode(stream.unwrap(sample))


def load(dataset: Any, processes: int) -> Iterable[Any]:
    return DataLoader(dataset, batch_size=BATCH, num_workers=processes)


def load_litdata(samples: list[dict[str, bytes]], folder: Path) -> Loader:
    import litdata

    stream.write_litdata(samples, folder)

    class Decoded(litdata.StreamingDataset):
        def __getitem__(self, index: Any) -> dict[str, Any]:
            return decode(super().__getitem__(index))

    return lambda n: litdata.StreamingDataLoader(
        Decoded(str(folder), shuffle=True, drop_last=False), batch_size=BATCH, num_workers=n
    )


def load_mosaic(samples: list[dict[str, bytes]], folder: Path) -> Loader:
    from streaming import StreamingDataset

    stream.write_mosaic(samples, folder)

    class Decoded(StreamingDataset):
        def __getitem__(self, at: Any) -> dict[str, Any]:
            return decode(super().__getitem__(at))

    return lambda n: load(Decoded(local=str(folder), shuffle=True, batch_size=BATCH), n)


def load_spdl(published: Path, threads: int) -> Iterator[Any]:
    pipeline = (
        stream.build_spdl(published).pipe(decode, concurrency=threads).aggregate(BATCH).pipe(default_collate)
    )
    with (built := pipeline.add_sink(2).build(num_threads=threads)).auto_stop():
        yield from built
