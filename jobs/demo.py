"""demo: every step on one machine without network, from pictures to an adapter and a report."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.networks.openmmlab import INSTALL
from t2i_shards.jobs.command import Command, EngineOptions, Summary
from t2i_shards.jobs.evaluate import EvaluateCommand
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.ingest import IngestFolder, IngestScenes
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.jobs.progress import part_of
from t2i_shards.jobs.report import ReportCommand
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.report import check_fonts
from t2i_shards.pipeline.sources.scenes import ScenesSource

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
SEEN_WELL = ("sketch", "canny", "color")
"""What the small networks, which were trained on scenes, also see on photographs."""
SHOWN = 80
"""Scenes that the small networks look at."""


@dataclass(frozen=True)
class DemoCommand:
    """Scenes and photographs, their conditions, an adapter that follows one of them, and report.html to open."""

    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])] = Path("runs/demo")
    """Where everything goes; the same command continues from what is there."""
    samples: int = 600
    """How many simple scenes the adapter learns from."""
    steps: Annotated[int, tyro.conf.arg(aliases=["--max-steps"])] = 150
    """Training steps."""
    weights: Path | None = None
    """A folder with PiDiNet's weights: adds a column sketch-pidinet next to the small network's."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        from t2i_shards.adapters.base.mini import FOLDER

        check_fonts()
        if find_spec("mmpose") is None:
            raise RequestError(f"demo finds people with mmpose, which is not installed: {INSTALL}")
        scenes, photographs = self.out / "dataset", self.out / "photograph-dataset"
        simple, page = self.out / "simple-dataset", self.out / "report.html"
        run, held_out = self.out / "train", min(32, self.samples // 4)
        commands: list[Command] = [
            self._scenes(scenes),
            self._photographs(photographs),
            *self._extract(scenes, CONDITIONS),
            *self._extract(photographs, SEEN_WELL),
            self._simple(simple),
            ExtractCommand(str(simple), ("latents",), variant="folder", weights=FOLDER, engine=self.engine),
            TrainCommand.short(simple, run, self.steps, held_out),
            EvaluateCommand.short(simple, run),
            ReportCommand((str(scenes), str(photographs)), run_=run, out=page, engine=self.engine),
        ]
        summaries = [self._step(command, n, len(commands)) for n, command in enumerate(commands, 1)]
        problems = tuple(problem for summary in summaries for problem in summary.problems)
        record = {"command": "demo", "steps": [dict(summary.record) for summary in summaries]}
        return Summary(f"demo: open {page}", record, problems)

    def _step(self, command: Command, number: int, of: int) -> Summary:
        with part_of("demo", number, of):
            summary = command.run()
        self._say(summary.line)
        return summary

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _scenes(self, root: Path) -> IngestScenes:
        return IngestScenes(
            options=IngestOptions(str(root), shard_size=40),
            source=ScenesSource(min(SHOWN, self.samples)),
            geometry=Geometry(SIZE),
            engine=self.engine,
        )

    def _simple(self, root: Path) -> IngestScenes:
        """What the base mini paints, with exact edges."""
        from t2i_shards.adapters.base.mini.networks import SIZE as MINI_SIZE

        return IngestScenes(
            options=IngestOptions(str(root), shard_size=100, truth=("sketch",)),
            source=ScenesSource(self.samples, seed=1, world="simple"),
            geometry=Geometry(MINI_SIZE),
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

    def _extract(self, root: Path, conditions: tuple[str, ...]) -> list[Command]:
        commands: list[Command] = [ExtractCommand(str(root), conditions, variant="mini", engine=self.engine)]
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
