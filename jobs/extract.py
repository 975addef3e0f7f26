"""extract: attach conditions to the pictures of a dataset, all in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from t2i_shards.adapters.options import Root
from t2i_shards.extractors.batch import DEVICES
from t2i_shards.jobs.command import EngineOptions, Summary, summarise
from t2i_shards.jobs.dry_run import dry_run, try_extract
from t2i_shards.jobs.fill import fill
from t2i_shards.jobs.keep_request import keep_request
from t2i_shards.jobs.progress import part_of
from t2i_shards.jobs.roll_up import roll_up
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left import find_left
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Advanced
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.extract import Extract


@dataclass(frozen=True)
class ExtractCommand:
    """Fill a column for each condition; shards that have one are left alone."""

    root: Root
    """The dataset."""
    conditions: tuple[str, ...]
    """Which conditions, such as sketch color."""
    variant: str = "default"
    """Which networks: the ones the published adapters saw, or mini."""
    weights: Path | None = None
    """A folder with weight files, looked into before the cache and the hub."""
    as_: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """Another name for the column, when one condition is asked for."""
    batch: Annotated[int, tyro.conf.arg(aliases=["--batch-size"])] = 8
    """Pictures given to a network at once; no effect on the result."""
    device: str = "auto"
    """Where networks run: cpu, cuda, or auto, which takes a GPU where there is one."""
    compile: Advanced[bool] = False
    """Compile the networks: faster after about a minute for each size of picture; another recipe."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    dry_run: bool = False
    """Say what would be made and how large it would be, by four pictures, and write nothing."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        check_device(self.device)
        if self.dry_run:
            return self._try()
        dataset = Dataset.open(self.root)
        dataset.store.sweep()
        # Planning begins the columns, so a GPU that is not there is refused before it.
        device = choose_worker_device(self.device, self.engine) if self.device == "cuda" else "cpu"
        stage = self._plan(dataset, device)
        columns = [made.column for made in stage.conditions]
        left = find_left(dataset, columns)
        # Ray is asked which devices there are; where nothing is left to do, none is started.
        asked = left.shards and self.device == "auto"
        if asked and (device := choose_worker_device("auto", self.engine)) != "cpu":
            stage = self._plan(dataset, device)
        with part_of("extract", 1, 2):
            result, done = fill(dataset, stage, left, self.engine, ", ".join(columns))
        with part_of("extract", 2, 2):
            roll_up(dataset, (IMAGES, *columns), left.made_again(result.made.keys()), self.engine, done)
        for made in stage.conditions if result.made else ():  # a whole column is left as it is
            keep_request(dataset.store, made.column, "extract", replace(self, conditions=(made.condition,)))
        return summarise("extract", result, len(dataset.shards))

    def _try(self) -> Summary:
        with dry_run():
            device = "cpu" if self.device == "cpu" else choose_worker_device(self.device, EngineOptions("local"))
            stage = self._plan(Dataset.open(self.root), device)
            return try_extract(stage, self.root, self.engine.workers)

    def _plan(self, dataset: Dataset, device: str) -> Extract:
        return plan_extract(
            dataset,
            self.conditions,
            variant=self.variant,
            weights=self.weights,
            column=self.as_,
            batch=self.batch,
            device=device,
            compiled=self.compile,
        )


def check_device(asked: str) -> None:
    """Raises RequestError for a device that is not known."""
    if asked not in ("auto", *DEVICES):
        raise RequestError(f"--device must be one of auto, {', '.join(DEVICES)}, not {asked!r}")


def choose_worker_device(asked: str, engine: EngineOptions) -> str:
    """cpu or cuda. RequestError when a GPU is asked for and there is none, or no such device is known."""
    check_device(asked)
    if asked == "cpu":
        return "cpu"
    if engine.engine == "ray":
        from t2i_shards.pipeline.engine.nodes import cluster_resources

        resources = cluster_resources()
        gpus = int(resources.get("GPU", 0))
        if asked == "cuda" and not resources.get("CPU"):
            return "cuda"  # the nodes are yet to come
    else:
        import torch

        gpus = torch.cuda.device_count()
    if not gpus and asked == "cuda":
        raise RequestError("--device cuda needs a GPU, and there is none; use cpu or auto")
    return "cuda" if gpus else "cpu"
