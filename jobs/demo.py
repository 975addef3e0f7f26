"""demo: the whole way on one machine with no network, from pictures to an adapter and a page to look at."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from extractors.registry import make_extractor
from extractors.weights import WeightsUnavailable
from jobs.command import EngineOptions, Summary
from jobs.extract import ExtractCommand
from jobs.ingest import IngestFolder, IngestOptions, IngestScenes
from jobs.report import ReportCommand
from jobs.train import TrainCommand
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
        reason = _missing_weights(self.weights)
        if reason:
            print(f"demo: the sketch column takes the scenes' own edges, for {reason}", flush=True)
        scenes, photographs = self.out / "dataset", self.out / "photograph-dataset"
        summaries = [
            self._ingest_scenes(scenes, own_edges=reason is not None),
            self._ingest_photographs(photographs),
            self._extract(scenes, sketch=reason is None),
            self._extract(photographs, sketch=reason is None),
            self._train(scenes),
            _say(
                ReportCommand(
                    (str(scenes), str(photographs)), run_=self.out / "train", out=self.out / "report.html"
                )
            ),
        ]
        problems = tuple(problem for summary in summaries for problem in summary.problems)
        record = {"command": "demo", "steps": [dict(summary.record) for summary in summaries]}
        return Summary(f"demo: open {self.out / 'report.html'}", record, problems)

    def _ingest_scenes(self, root: Path, own_edges: bool) -> Summary:
        truth = ("depth", "seg", "keypose", *(["sketch"] if own_edges else []))
        return _say(
            IngestScenes(
                options=IngestOptions(str(root), shard_size=40, truth=truth),
                source=ScenesSource(self.samples),
                geometry=Geometry(SIZE),
                engine=self.engine,
            )
        )

    def _ingest_photographs(self, root: Path) -> Summary:
        folder = self.out / "photographs"
        copy_photographs(folder)
        return _say(
            IngestFolder(
                options=IngestOptions(str(root), shard_size=4),
                folder=str(folder),
                geometry=Geometry(SIZE),
                engine=self.engine,
            )
        )

    def _extract(self, root: Path, sketch: bool) -> Summary:
        conditions = ("color", "sketch") if sketch else ("color",)
        return _say(ExtractCommand(str(root), conditions, weights=self.weights, engine=self.engine))

    def _train(self, root: Path) -> Summary:
        return _say(TrainCommand.short(root, self.out / "train", self.steps))


def _say(command: IngestScenes | IngestFolder | ExtractCommand | TrainCommand | ReportCommand) -> Summary:
    summary = command.run()
    print(summary.line, flush=True)
    return summary


def _missing_weights(weights: Path | None) -> str | None:
    """Why PiDiNet's weights cannot be had, or None when they can."""
    try:
        make_extractor("sketch", weights=weights).recipe()
    except WeightsUnavailable as error:
        return str(error)
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
