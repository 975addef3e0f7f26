"""demo: the whole way on one machine with no network, from pictures to an adapter and a page to look at."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from extractors.registry import make_extractor
from extractors.weights import WeightsDamaged, WeightsUnavailable
from jobs.command import Command, EngineOptions, Summary
from jobs.extract import ExtractCommand
from jobs.ingest import IngestFolder, IngestOptions, IngestScenes
from jobs.report import ReportCommand
from jobs.train import TrainCommand
from pipeline.dataset import Dataset
from pipeline.errors import RequestError
from pipeline.image import Geometry
from pipeline.sources.scenes import ScenesSource

PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "a smiling woman in an orange space suit before a flag and a model of a shuttle",
    "skimage/data/chelsea.png": "a tabby cat looking at the camera",
    "skimage/data/coffee.png": "a cup of coffee and a spoon on a saucer",
    "skimage/data/rocket.jpg": "a rocket taking off beside its launch tower",
    "skimage/data/motorcycle_left.png": "a motorcycle in a garage full of tools",
    "skimage/data/camera.png": "a man with a camera on a tripod in a park, in black and white",
    "skimage/data/hubble_deep_field.jpg": "galaxies before a black sky",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": "a woman in a navy uniform before a flag",
}
"""Real photographs that installed libraries carry, and what is seen on them."""

SIZE = 256


@dataclass(frozen=True)
class DemoCommand:
    """Scenes and photographs, their conditions, a short training, and report.html to open."""

    out: Path = Path("runs/demo")
    """Where everything goes; the same command goes on from what is there."""
    samples: int = 240
    """How many scenes."""
    steps: int = 150
    """Training steps."""
    weights: Path | None = None
    """A folder with PiDiNet's weights; without it the cache and the hub are tried."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        scenes, photographs = self.out / "dataset", self.out / "photograph-dataset"
        missing = _missing_weights(self.weights)
        # A column has one maker: what an earlier run of the demo began is gone on with.
        maker = _maker_of_sketch(scenes) or ("network" if missing is None else "scenes")
        own_edges = maker == "scenes"
        if own_edges:
            reason = missing or "an earlier run took them"
            self._say(f"demo: the sketch column takes the scenes' own edges, for {reason}")
        page = self.out / "report.html"
        summaries = [
            self._step(self._scenes(scenes, own_edges)),
            self._step(self._photographs(photographs)),
            self._step(self._extract(scenes, sketch=not own_edges)),
            self._step(self._extract(photographs, sketch=missing is None)),
            self._step(TrainCommand.short(scenes, self.out / "train", self.steps, min(32, self.samples // 4))),
            self._step(ReportCommand((str(scenes), str(photographs)), run_=self.out / "train", out=page)),
        ]
        problems = tuple(problem for summary in summaries for problem in summary.problems)
        record = {"command": "demo", "steps": [dict(summary.record) for summary in summaries]}
        return Summary(f"demo: open {page}", record, problems)

    def _step(self, command: Command) -> Summary:
        summary = command.run()
        self._say(summary.line)
        return summary

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr if self.json else sys.stdout, flush=True)

    def _scenes(self, root: Path, own_edges: bool) -> IngestScenes:
        truth = ("depth", "seg", "keypose", *(["sketch"] if own_edges else []))
        return IngestScenes(
            options=IngestOptions(str(root), shard_size=40, truth=truth),
            source=ScenesSource(self.samples),
            geometry=Geometry(SIZE),
            engine=self.engine,
        )

    def _photographs(self, root: Path) -> IngestFolder:
        folder = self.out / "photographs"
        copy_photographs(folder)
        return IngestFolder(
            options=IngestOptions(str(root), shard_size=4),
            folder=str(folder),
            geometry=Geometry(SIZE),
            engine=self.engine,
        )

    def _extract(self, root: Path, sketch: bool) -> ExtractCommand:
        conditions = ("color", "sketch") if sketch else ("color",)
        return ExtractCommand(str(root), conditions, weights=self.weights, engine=self.engine)


def _maker_of_sketch(root: Path) -> str | None:
    """Who makes the sketch column of the scenes that stand at `root`; None when it was not begun."""
    if not (root / "dataset.json").exists():
        return None
    recipe = Dataset.open(str(root)).recipe("sketch")
    return None if recipe is None else str(recipe.get("made_by", "network"))


def _missing_weights(weights: Path | None) -> str | None:
    """Why PiDiNet's weights cannot be had, or None when they can. Raises RequestError for damaged ones."""
    try:
        make_extractor("sketch", weights=weights).recipe()
    except WeightsUnavailable as error:
        return str(error)
    except WeightsDamaged as error:
        raise RequestError(str(error)) from None
    return None


def copy_photographs(folder: Path) -> None:
    """Put the photographs of installed libraries into `folder`, each with its caption beside it."""
    import matplotlib
    import skimage

    packages = {"skimage": Path(skimage.__file__).parent, "matplotlib": Path(matplotlib.__file__).parent}
    folder.mkdir(parents=True, exist_ok=True)
    for name, caption in PHOTOGRAPHS.items():
        package, _, path = name.partition("/")
        picture = folder / Path(path).name
        shutil.copyfile(packages[package] / path, picture)
        picture.with_suffix(".txt").write_text(caption + "\n")
