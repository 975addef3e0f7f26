"""The stream against the readers people use: the same members, the same decoder, all shuffled, in turns.

Ours reads the columns as they are and verifies every byte. webdataset and HF datasets read the published tars;
litdata and MosaicML streaming read their own formats, written from the same members; SPDL parses the published
tars in a thread. One process each, no loader workers, pages warm: what is compared is the CPU time of a sample.
The last three are measured where they are installed (`pip install litdata mosaicml-streaming spdl`).
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

from t2i_shards.extractors.maps import png
from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.stream import open_stream
from tests.bench.measure import Row, rates_in_turns
from tests.bench.photographs import draw_photograph
from tests.bench.toy import make_dataset

SHARDS, SHARD, SIZE, ROUNDS = 12, 100, 512, 5
MEMBERS = ("jpg", "json", "txt", "canny.png")
Members = Mapping[str, Any]
Epoch = Callable[[], Iterable[Members]]
"""One pass over all samples, as their members."""


def bench(folder: Path) -> list[Row]:
    root, published, samples = make(folder)
    stream = open_stream(str(root), ("canny",))
    readers: dict[str, Epoch] = {
        "ours": lambda: (sample.members for sample in stream.samples(0)),
        "decoding alone": lambda: samples,
        "webdataset": read_webdataset(published),
        "HF datasets": lambda: map(unwrap, stream_datasets(published)),
    }
    if importlib.util.find_spec("litdata"):
        readers["litdata"] = read_litdata(samples, folder / "litdata")
    if importlib.util.find_spec("streaming"):
        readers["MosaicML streaming"] = read_mosaic(samples, folder / "mosaic")
    if importlib.util.find_spec("spdl"):
        readers["SPDL"] = lambda: read_spdl(published)
    decoded = compare(readers, len(samples), decode, "")
    readers.pop("decoding alone")
    return [*decoded, *compare(readers, len(samples), touch, ", bytes only")]


def make(folder: Path) -> tuple[Path, Path, list[dict[str, bytes]]]:
    """(dataset, its publication, all samples' members)."""
    root, published = folder / "dataset", folder / "published"
    make_dataset(root, SHARDS, SHARD, SIZE, draw_photograph)
    engine = EngineOptions("local")
    ExtractCommand(str(root), ("canny",), engine=engine).run()
    PublishCommand(str(root), str(published), readers=("webdataset",), engine=engine).run()
    samples = [{m: bytes(s.members[m]) for m in MEMBERS} for s in open_published(str(published)).samples(0)]
    return root, published, samples


def compare(readers: Mapping[str, Epoch], count: int, use: Callable[[Members], object], what: str) -> list[Row]:
    def read(epoch: Epoch) -> int:
        return sum(1 for members in epoch() if use(members) is not None)

    runs = {name: partial(read, epoch) for name, epoch in readers.items()}
    rates = rates_in_turns(runs, count, process_time, ROUNDS)
    ours = rates.pop("ours")
    return [
        row(f"the stream against {name}{what}", ours, theirs, goal(name, what)) for name, theirs in rates.items()
    ]


def row(what: str, ours: list[float], theirs: list[float], goal: str) -> Row:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(what, "samples per CPU second", statistics.median(ours), statistics.median(theirs), ratio, goal)


def goal(name: str, what: str) -> str:
    if what:
        return ""
    return ">= 0.9" if name == "decoding alone" else ">= 1.1"


def decode(members: Members) -> object:
    return decode_rgb(members["jpg"]), png.decode_grey(members["canny.png"]), text(members["txt"])


def touch(members: Members) -> object:
    return [len(members[member]) for member in MEMBERS]


def text(data: Any) -> str:
    return data if isinstance(data, str) else bytes(data).decode()


def list_tars(published: Path) -> list[str]:
    return sorted(map(str, (published / "data").glob("train-*.tar")))


def read_webdataset(published: Path) -> Callable[[], Any]:
    import webdataset

    tars = list_tars(published)
    return lambda: webdataset.WebDataset(tars, shardshuffle=100, seed=0, empty_check=False).shuffle(1000)


def stream_datasets(published: Path) -> Any:
    from datasets import Image, load_dataset

    whole = load_dataset("webdataset", data_files={"train": list_tars(published)}, split="train", streaming=True)
    for member in ("jpg", "canny.png"):
        whole = whole.cast_column(member, Image(decode=False))
    return whole.shuffle(seed=0, buffer_size=1000)


def unwrap(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "jpg": sample["jpg"]["bytes"], "canny.png": sample["canny.png"]["bytes"]}


def read_litdata(samples: list[dict[str, bytes]], folder: Path) -> Epoch:
    import litdata

    write_litdata(samples, folder)
    return lambda: litdata.StreamingDataset(str(folder), shuffle=True, drop_last=False)


def write_litdata(samples: list[dict[str, bytes]], folder: Path) -> None:
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, sample in enumerate(samples):
        writer[number] = sample
    writer.done()
    writer.merge()


def read_mosaic(samples: list[dict[str, bytes]], folder: Path) -> Epoch:
    from streaming import StreamingDataset

    write_mosaic(samples, folder)
    return lambda: StreamingDataset(local=str(folder), shuffle=True, batch_size=8)


def write_mosaic(samples: list[dict[str, bytes]], folder: Path) -> None:
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns=dict.fromkeys(MEMBERS, "bytes")) as writer:
        for sample in samples:
            writer.write(sample)


def read_spdl(published: Path) -> Iterator[Members]:
    with (pipeline := build_spdl(published).add_sink(2).build(num_threads=1)).auto_stop():
        yield from pipeline


def build_spdl(published: Path) -> Any:
    """Its builder over the samples of the tars, which are shuffled."""
    from spdl.pipeline import PipelineBuilder

    tars = random.Random(0).sample(tars := list_tars(published), len(tars))
    return PipelineBuilder().add_source(tars).pipe(load_samples)


def load_samples(tar: str) -> Iterator[Members]:
    from spdl.io import iter_tarfile

    members = iter_tarfile(Path(tar).read_bytes())
    for _, sample in itertools.groupby(members, lambda member: member[0].partition(".")[0]):
        yield {name.partition(".")[2]: bytes(data) for name, data in sample}
