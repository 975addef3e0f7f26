"""mini-weights: train the small networks that this project ships, on its own scenes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from t2i_shards.adapters.options import check_at_least
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from t2i_shards.jobs.mini_weights.through import Through

Name = Literal["sketch", "depth", "seg", "keypose"]
NAMES: tuple[Name, ...] = ("sketch", "depth", "seg", "keypose")


@dataclass(frozen=True)
class MiniWeightsCommand:
    """For developers: train the networks of variant mini; the same command continues from the last checkpoint.

    What is shipped are the files of OUT, copied to extractors/mini, whose SHA256SUMS then names all of them.
    """

    only: tuple[Name, ...] = NAMES
    """Which networks."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])] = Path("runs/mini")
    """Where scenes, checkpoints, the weights and SHA256SUMS go."""
    seed: int | None = None
    """Of the scenes, the first weights and the batches; that of the shipped weights when not given."""
    scenes: int | None = None
    """How many scenes are rendered to learn from; as many as for the shipped weights when not given."""
    steps: Annotated[int | None, tyro.conf.arg(aliases=["--max-steps"])] = None
    """Batches to learn from; as many as for the shipped weights when not given."""
    batch: Annotated[int | None, tyro.conf.arg(aliases=["--batch-size"])] = None
    """Pictures in a batch; as many as for the shipped weights when not given."""
    through: str | None = None
    """A base, such as mini, whose pictures the networks are to measure: training starts from the shipped
    weights and uses simple scenes of the base's size, enlarged, half of them passed through its autoencoder."""
    json: bool = False
    """Print the summary as JSON."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "scenes", "steps", "batch")
        if self.through and self.seed == HELD_OUT:
            raise RequestError(f"--seed must not be {HELD_OUT}, whose scenes are kept to measure with")

    def run(self) -> Summary:
        through = _open(self.through) if self.through else None
        paths = [self._train(name, through) for name in self.only]
        write_sums(self.out)
        sizes = {path.name: path.stat().st_size for path in paths}
        made = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items())
        return Summary(f"mini-weights: {made} in {self.out}", {"command": "mini-weights", "bytes": sizes})

    def _train(self, name: Name, through: Through | None) -> Path:
        given = {key: getattr(self, key) for key in ("seed", "scenes", "steps", "batch")}
        asked = {key: value for key, value in given.items() if value is not None}
        module = import_module(f"t2i_shards.jobs.mini_weights.{name}")
        if name == "keypose":
            if through and self.steps:
                asked["more"] = asked.pop("steps")
            plan = replace(module.FURTHER if through else module.Training(), through=through)
            path: Path = module.train(replace(plan, out=self.out, **asked), _say)
            return path
        from t2i_shards.jobs.mini_weights.train import FEWER, Training, train

        started = {**FEWER, **asked} if through else asked
        return train(module.TASK, Training(self.out, **started, through=through), _say)


def _open(base: str) -> Through:
    from t2i_shards.adapters.base import load_base
    from t2i_shards.jobs.mini_weights.through import Through

    try:
        return Through(load_base(base))
    except RequestError as error:
        raise RequestError(f"--through must name a base: {error}") from None


def _say(line: str) -> None:
    print(f"mini-weights: {line}", file=sys.stderr, flush=True)


def write_sums(folder: Path) -> Path:
    """SHA256SUMS of the weights in a folder, in the form of `sha256sum`."""
    from t2i_shards.extractors.atomic import sha256_of, write_file

    sums = folder / "SHA256SUMS"
    write_file(sums, "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.glob("*.safetensors"))))
    return sums
