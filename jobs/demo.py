"""demo: the whole way on one machine with no network, from pictures to an adapter and a page to look at."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from extractors.atomic import write_file
from jobs.command import Command, EngineOptions, Summary
from jobs.extract import ExtractCommand
from jobs.ingest import IngestFolder, IngestOptions, IngestScenes
from jobs.report import ReportCommand
from jobs.train import TrainCommand
from pipeline.image.geometry import Geometry
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
CONDITIONS = ("sketch", "depth", "keypose", "seg", "color")


@dataclass(frozen=True)
class DemoCommand:
    """Scenes and photographs, their conditions, a short training, and report.html to open."""

    out: Path = Path("runs/demo")
    """Where everything goes; the same command continues from what is there."""
    samples: int = 240
    """How many scenes."""
    steps: int = 150
    """Training steps."""
    weights: Path | None = None
    """A folder with PiDiNet's weights: adds a column sketch-pidinet next to the small network's."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        scenes, photographs = self.out / "dataset", self.out / "photograph-dataset"
        page = self.out / "report.html"
        commands: list[Command] = [self._scenes(scenes), self._photographs(photographs)]
        for root in (scenes, photographs):
            commands += self._extract(root)
        commands += [
            TrainCommand.short(scenes, self.out / "train", self.steps, min(32, self.samples // 4)),
            ReportCommand((str(scenes), str(photographs)), run_=self.out / "train", out=page, engine=self.engine),
        ]
        summaries = [self._step(command) for command in commands]
        problems = tuple(problem for summary in summaries for problem in summary.problems)
        record = {"command": "demo", "steps": [dict(summary.record) for summary in summaries]}
        return Summary(f"demo: open {page}", record, problems)

    def _step(self, command: Command) -> Summary:
        summary = command.run()
        self._say(summary.line)
        return summary

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _scenes(self, root: Path) -> IngestScenes:
        return IngestScenes(
            options=IngestOptions(str(root), shard_size=40),
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

    def _extract(self, root: Path) -> list[Command]:
        commands: list[Command] = [ExtractCommand(str(root), CONDITIONS, variant="mini", engine=self.engine)]
        if self.weights:
            commands.append(
                ExtractCommand(
                    str(root), ("sketch",), weights=self.weights, as_="sketch-pidinet", engine=self.engine
                )
            )
        return commands


def copy_photographs(folder: Path) -> None:
    """Put the photographs of installed libraries into `folder`, each with its caption in a text file."""
    import matplotlib
    import skimage

    packages = {"skimage": Path(skimage.__file__).parent, "matplotlib": Path(matplotlib.__file__).parent}
    for name, caption in PHOTOGRAPHS.items():
        package, _, path = name.partition("/")
        picture = folder / Path(path).name
        write_file(picture, (packages[package] / path).read_bytes())
        write_file(picture.with_suffix(".txt"), caption + "\n")
