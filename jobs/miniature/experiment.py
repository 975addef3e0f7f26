"""Where the rows of the miniature are made: its scenes, adapters and pictures, each made once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.jobs.command import Command, EngineOptions
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.ingest import IngestScenes
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT
from t2i_shards.jobs.miniature.recipe import (
    ENLARGED,
    LONGER,
    NOISE_OFFSET_LEVELS,
    NOISE_OFFSETS,
    SEED,
    TRUTHS,
    Name,
    describe_recipe,
    measuring_variant_of,
    plan_training,
)
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.scenes import ScenesSource

if TYPE_CHECKING:
    from t2i_shards.adapters.base import StableDiffusion
    from t2i_shards.adapters.evaluation.example import EvalExample
    from t2i_shards.adapters.evaluation.fidelity import Extract
    from t2i_shards.adapters.model.adapter import Adapter


@dataclass(frozen=True)
class Experiment:
    """out: folder of all. scenes: to learn from. steps: of most trainings. samples, seeds: of rows 1 to 3.

    few: held-out scenes that rows 4 to 11 are measured on.
    """

    out: Path
    scenes: int
    steps: int
    samples: int
    seeds: int
    few: int
    engine: EngineOptions = field(default_factory=EngineOptions)

    @property
    def training_data(self) -> Path:
        return self.out / "scenes"

    @property
    def held_out(self) -> Path:
        return self.out / "held-out"

    def prepare(self) -> None:
        """The scenes and their latents."""
        from t2i_shards.adapters.base.mini import FOLDER

        self.do(self._ingest(self.training_data, self.scenes, SEED))
        self.do(self._ingest(self.held_out, self.samples, HELD_OUT))
        latents = ("latents",)
        self.do(
            ExtractCommand(str(self.training_data), latents, variant="folder", weights=FOLDER, engine=self.engine)
        )

    def do(self, command: Command) -> None:
        self.say(command.run().line)

    def say(self, line: str) -> None:
        print(f"miniature: {line}", file=sys.stderr, flush=True)

    def steps_of(self, condition: Name) -> int:
        """Of a training for this condition."""
        return round(self.steps * LONGER.get(condition, 1))

    def run_of(self, condition: Name, variant: str = "") -> Path:
        """Folder of an adapter's training. variant: how it differs from the adapters of rows 1 to 3."""
        offset = f"offset{NOISE_OFFSETS[condition]:g}" if condition in NOISE_OFFSETS else ""
        levels = f"levels{NOISE_OFFSET_LEVELS[condition]}" if condition in NOISE_OFFSET_LEVELS else ""
        return self.out / "-".join(
            filter(None, (condition, str(self.steps_of(condition)), offset, levels, variant))
        )

    def train(self, condition: Name, variant: str = "", **changes: Any) -> Adapter:
        """An adapter, trained unless it was. changes: of `plan_training`, for a variant."""
        from t2i_shards.adapters.model.convert import read_adapter

        run = self.run_of(condition, variant)
        self.do(plan_training(condition, self.training_data, run, self.steps_of(condition), **changes))
        return read_adapter(run / "adapter")

    @cached_property
    def base(self) -> StableDiffusion:
        from t2i_shards.adapters.base import StableDiffusion, load_base

        base = load_base("mini")
        assert isinstance(base, StableDiffusion)
        return base

    def examples(self, condition: Name) -> Sequence[EvalExample]:
        """The held-out scenes of rows 4 to 11, with this condition; of all conditions in the same order."""
        if condition not in self._examples:
            self._examples[condition] = self._read_examples(condition)
        return self._examples[condition]

    @cached_property
    def _examples(self) -> dict[str, Sequence[EvalExample]]:
        return {}

    def _read_examples(self, condition: Name) -> Sequence[EvalExample]:
        from t2i_shards.adapters.base.mini.networks import SIZE
        from t2i_shards.adapters.evaluation.example import crop_middle
        from t2i_shards.extractors.registry import format_of
        from t2i_shards.pipeline.stream import open_stream

        columns = () if format_of(condition).from_crop else (condition,)
        samples = open_stream(str(self.held_out), columns).samples(0, ranks=1)
        found = [crop_middle(sample, condition, SIZE) for sample in samples]
        return sorted(found, key=lambda example: example.key)[: self.few]

    def extract(self, condition: Name) -> Extract:
        """The network that measures a condition, as rows 1 to 3 use it."""
        from t2i_shards.adapters.evaluation.fidelity import enlarge_for
        from t2i_shards.pipeline.extract import load_extractor

        if condition not in self._extracts:
            extractor = load_extractor(condition, measuring_variant_of(condition), None, "cpu")
            self._extracts[condition] = enlarge_for(extractor, ENLARGED.get(condition))
        return self._extracts[condition]

    @cached_property
    def _extracts(self) -> dict[str, Extract]:
        return {}

    def asked(self, conditions: Sequence[Name]) -> Mapping[str, Any]:
        """What decides every row of these conditions."""
        return {"scenes": self.scenes, "steps": self.steps, **describe_recipe(conditions)}

    def _ingest(self, root: Path, count: int, seed: int) -> IngestScenes:
        from t2i_shards.adapters.base.mini.networks import SIZE

        return IngestScenes(
            options=IngestOptions(str(root), shard_size=250, truth=TRUTHS),
            source=ScenesSource(count, seed, "simple"),
            geometry=Geometry(SIZE),
            engine=self.engine,
        )
