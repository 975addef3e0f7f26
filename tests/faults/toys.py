"""A source and an extractor that need no network, fail on demand, and can be imported in worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch
from t2i_shards.extractors.maps.formats import Grey
from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, unseen
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages import Extract, plan_extract
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import choose_truths, claim_truths, plan_dataset
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.stages.verify import plan_verify, verify_plan

CURSED = 250
"""A picture with no pixel darker than this is one on which the `raises` and `dies` variants fail."""

VARIANTS = dict.fromkeys(("default", "slow", "raises", "hopeless", "dies"), "tests.faults.toys:Toy")


BROKEN = {"default": "tests.faults.toys:Broken"}


def register() -> None:
    """Add the toys to the registry of this process; in a test use the fixture `toy` instead."""
    EXTRACTORS["toy"], EXTRACTORS["broken"] = VARIANTS, BROKEN


class Toy:
    """The map is the green channel."""

    condition = "toy"
    format = Grey("toy.png", "the green channel", channels=1)
    resources = Resources(cpus=0.5)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        return {"extractor": "toy", "variant": self.variant}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def __call__(self, given: np.ndarray | Batch) -> list[np.ndarray]:
        pictures = as_batch(given).pictures
        cursed = any(picture.min() >= CURSED for picture in pictures)
        if self.variant == "slow":
            time.sleep(0.002 * len(pictures))
        if self.variant == "hopeless" or (self.variant == "raises" and cursed):
            raise ValueError("this picture is\ncursed")
        if self.variant == "dies" and cursed:
            os.kill(os.getpid(), signal.SIGKILL)
        return [picture[:, :, 1].copy() for picture in pictures]


class Broken(Toy):
    """Fails on every picture."""

    condition = "broken"

    def __init__(self, variant: str, weights: Path | None) -> None:
        super().__init__("hopeless", weights)


@dataclass(frozen=True)
class Pictures(Source):
    """Small smooth pictures, those of `cursed` white; every third is wide."""

    count: int
    cursed: tuple[int, ...] = ()
    size: int = 64
    crawl: ClassVar = False

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "pictures", "count": self.count, "cursed": list(self.cursed)}

    @property
    def resources(self) -> Resources:
        return Resources()

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield self.open

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        for i in range(self.count):
            yield Row(f"k{i:05d}", f"picture:{i}", (f"number {i}",), extra={"i": i})

    def open(self, row: Row) -> Original:
        i = row.extra["i"]
        height, width = self.size, self.size * (2 if i % 3 == 2 else 1)
        y, x = np.mgrid[:height, :width]
        picture = np.stack([y * 2 + i, x + 5 * i, x + y], axis=2).astype(np.uint8) // 2
        if i in self.cursed:
            picture = np.full((height, width, 3), 255, np.uint8)
        return Original(picture, row.captions, truth={"sketch": lambda p: np.zeros(p.crop[:1:-1], np.uint8)})

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {"sketch": {"condition": "sketch", "made_by": "pictures"}}


@dataclass
class Logged:
    """A stage that notes "begin SHARD PID" and "end SHARD PID" in `log`; it works where the toy is unknown.

    With a `meeting`, a folder, no worker begins before two have arrived there. linger: extra seconds for every
    shard, so that a test that waits for some of them can end the run in time.
    """

    stage: Stage
    log: str
    meeting: str = ""
    linger: float = 0.0

    @property
    def resources(self) -> Resources:
        return self.stage.resources

    def setup(self) -> None:
        register()
        self.stage.setup()
        if self.meeting:
            await_other(Path(self.meeting))

    def _note(self, what: str, shard: int) -> None:
        # One write to a file opened for appending is whole, whoever else writes.
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{what} {shard} {os.getpid()}\n".encode())
        os.close(handle)

    def __call__(self, shard: int) -> StageResult:
        self._note("begin", shard)
        time.sleep(self.linger)
        made = self.stage(shard)
        self._note("end", shard)
        return made


def await_other(meeting: Path) -> None:
    """Wait until two processes have arrived in the folder; the limit only ends a test that hangs."""
    (meeting / str(os.getpid())).touch()
    limit = time.monotonic() + 600
    while len(list(meeting.iterdir())) < 2:
        assert time.monotonic() < limit, "the other never came"
        time.sleep(0.01)


@dataclass(frozen=True)
class Note:
    what: str
    shard: int
    pid: int


def read_log(log: Path) -> list[Note]:
    """The notes so far, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Note(what, int(shard), int(pid)) for what, shard, pid in (line.split() for line in lines)]


def begun(log: Path) -> list[int]:
    """The shards that were begun, as often as they were."""
    return [note.shard for note in read_log(log) if note.what == "begin"]


def shrink_roll_ups(patch: pytest.MonkeyPatch, shards: int) -> None:
    """So many shards are the thousand of a roll-up, and enough for one."""
    for module in ("dataset.roll_up", "dataset.dataset", "stages.roll_up"):
        patch.setattr(f"t2i_shards.pipeline.{module}.LEAST", shards)
    for module in ("dataset.roll_up", "stages.thousands"):
        patch.setattr(f"t2i_shards.pipeline.{module}.THOUSAND", shards)


def run_here(stage: Stage, shards: Iterable[int]) -> list[StageResult]:
    """What a stage makes of each shard in turn, in this process without an engine."""
    stage.setup()
    return [stage(shard) for shard in shards]


def fill(dataset: Dataset, source: Source, truths: tuple[str, ...] = ()) -> list[StageResult]:
    """Make the shards of images and of these truths that are left."""
    stage = Ingest(dataset, source, claim_truths(dataset, choose_truths(source, truths)))
    return run_here(stage, dataset.left((IMAGES, *truths)))


def make_images(
    root: str | Path, source: Source, shard_size: int, truths: tuple[str, ...] = (), size: int = 64
) -> Dataset:
    """A dataset with its images column (and truths)."""
    dataset = plan_dataset(os.fspath(root), source, Geometry(size), shard_size)
    fill(dataset, source, truths)
    return dataset


def extract_here(dataset: Dataset, variant: str = "default", **options: Any) -> Extract:
    """Fill the toy column in this process without an engine. The registry must know the toy."""
    stage = plan_extract(dataset, ["toy"], variant=variant, **options)
    run_here(stage, dataset.shards)
    return stage


def digests(root: str | Path) -> dict[str, str]:
    """Column -> the digest of its content."""
    return {status.column: status.digest for status in dataset_status(Dataset.open(os.fspath(root)))}


def problems(root: str | Path) -> list[str]:
    """What `verify` finds, and every receipt whose counts are not those of its column's input."""
    dataset = Dataset.open(os.fspath(root))
    stage = plan_verify(dataset)
    return verify_plan(dataset) + [line for shard in dataset.shards for line in stage(shard).errors]
