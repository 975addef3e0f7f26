"""miniature: the paper in small, from the base mini and this project's simple scenes: one table, and its pictures.

Rows so far: text alone, each of the five conditions with its adapter, and with another scene's condition.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.jobs.command import Command, EngineOptions, Summary
from t2i_shards.jobs.evaluate import EvaluateCommand
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.ingest import IngestScenes
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT
from t2i_shards.jobs.miniature.recipe import (
    NAMES,
    SEED,
    TRUTHS,
    Name,
    describe_recipe,
    plan_evaluation,
    plan_training,
)
from t2i_shards.jobs.miniature.table import table_lines
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.scenes import ScenesSource


@dataclass(frozen=True)
class MiniatureCommand:
    """Train an adapter for each condition on the base mini, evaluate it on scenes that nobody saw, make the table.

    A row that is done is not made again: the same command continues where it stopped.
    """

    out: Path = Path("runs/miniature")
    """Where scenes, adapters, pictures, table.md, table.json and a sheet for each condition go."""
    conditions: tuple[Name, ...] = NAMES
    """Which conditions have a row."""
    scenes: int = 4000
    """How many scenes the adapters learn from."""
    steps: int = 1500
    """Training steps of each adapter, of 16 samples."""
    samples: int = 256
    """How many held-out scenes each adapter is evaluated on."""
    seeds: int = 3
    """How many pictures of each scene in each way."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def __post_init__(self) -> None:
        for name, least in (("scenes", 1), ("steps", 1), ("samples", 2), ("seeds", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"--{name} must be at least {least}, not {getattr(self, name)}")
        if not self.conditions:
            raise RequestError("--conditions must name at least one condition")

    def run(self) -> Summary:
        from t2i_shards.adapters.base.mini import FOLDER

        learnt, held_out = self.out / "scenes", self.out / "held-out"
        self._do(self._ingest(learnt, self.scenes, SEED))
        self._do(self._ingest(held_out, self.samples, HELD_OUT))
        self._do(ExtractCommand(str(learnt), ("latents",), variant="folder", weights=FOLDER, engine=self.engine))
        rows = [self._row(condition, learnt, held_out) for condition in self.conditions]
        write_json(self.out / "table.json", {"rows": rows})
        lines = table_lines(rows)
        write_file(self.out / "table.md", "\n".join(lines) + "\n")
        return Summary("\n".join(lines), {"command": "miniature", "rows": rows})

    def _do(self, command: Command) -> None:
        print(f"miniature: {command.run().line}", file=sys.stderr, flush=True)

    def _ingest(self, root: Path, count: int, seed: int) -> IngestScenes:
        from t2i_shards.adapters.base.mini.networks import SIZE

        return IngestScenes(
            options=IngestOptions(str(root), shard_size=250, truth=TRUTHS),
            source=ScenesSource(count, seed, "simple"),
            geometry=Geometry(SIZE),
            engine=self.engine,
        )

    def _row(self, condition: Name, learnt: Path, held_out: Path) -> dict[str, Any]:
        """Train and evaluate, unless just that was done."""
        asked = {
            "condition": condition,
            **{name: getattr(self, name) for name in ("scenes", "steps", "samples", "seeds")},
            **describe_recipe(),
        }
        path = self.out / "rows" / f"{condition}.json"
        done = _read(path)
        if done is not None and done["asked"] == asked:
            return done
        run = self.out / f"{condition}-{self.steps}"
        started = time.process_time()
        self._do(plan_training(condition, learnt, run, self.steps))
        trained = time.process_time() - started
        evaluate = EvaluateCommand(
            plan_evaluation(condition, held_out, run, self.out / condition, self.samples, self.seeds)
        )
        record = dict(evaluate.run().record)
        seconds = {"training": trained, "evaluation": time.process_time() - started - trained}
        row = {"asked": asked, "cpu_hours": {name: value / 3600 for name, value in seconds.items()}, **record}
        write_json(path, row)
        write_file(self.out / f"{condition}.png", (self.out / condition / "sheet.png").read_bytes())
        return row


def _read(path: Path) -> dict[str, Any] | None:
    """A row that this command wrote; None where there is none, or another file."""
    try:
        row: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return row if isinstance(row, dict) and "asked" in row else None
