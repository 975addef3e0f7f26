"""Which samples a training held out: RUN/held_out.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from t2i_shards.adapters.records import read_record
from t2i_shards.extractors.atomic import write_json
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.stream import HeldOut

NAME = "held_out.json"


@dataclass(frozen=True)
class HeldOutRecord:
    """What held_out.json holds."""

    datasets: tuple[HeldOut, ...]


def write_held_out(run: Path, held_out: Sequence[HeldOut]) -> None:
    """One entry for each dataset of the training: its root, its pictures' digest, shard and key of each.

    Written once: a resumed run has the same.
    """
    if not (run / NAME).exists():
        write_json(run / NAME, {"datasets": [asdict(of_dataset) for of_dataset in held_out]})


def find_held_out(run: Path, dataset: Dataset) -> list[tuple[int, str]] | None:
    """(shard, key) of those of the dataset, whatever shards were added since; None if it was not trained on."""
    images = dataset.receipts(IMAGES)
    for segment in reversed(dataset.segments):
        known = read_held_out(run, images.within(0, segment.numbers.stop).digest)
        if known is not None:
            return known
    return None


def read_held_out(run: Path, data: str) -> list[tuple[int, str]] | None:
    """(shard, key) of those of the dataset whose pictures have this digest; None if it was not trained on.

    A dataset that was mixed with itself lacks what all its streams lack. Raises RequestError for a damaged file.
    """
    path = run / NAME
    datasets = read_record(path, HeldOutRecord).datasets if path.exists() else ()
    lacked = [of.samples for of in datasets if of.data == data]
    return [sample for sample in lacked[0] if all(sample in other for other in lacked)] if lacked else None
