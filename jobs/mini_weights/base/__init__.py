"""mini-base: train the small Stable Diffusion that this project ships, on its own scenes, and measure it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from t2i_shards.adapters.options import check_at_least
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT, Plan
from t2i_shards.pipeline.errors import RequestError

Part = Literal["autoencoder", "decoder", "unet"]
PARTS: tuple[Part, ...] = ("autoencoder", "decoder", "unet")


@dataclass(frozen=True)
class MiniBaseCommand:
    """For developers: train the base mini, continuing from the last checkpoint, or measure what was trained.

    What is shipped is the folder OUT/mini, copied to adapters/base/mini. Under torchrun, all processes share each
    batch.
    """

    only: tuple[Part, ...] = ()
    """Which parts are trained; all, or with --continue the UNet. Others are taken as they are. The decoder is that
    of the autoencoder, and can be trained further at any time: latents stay as they are."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])] = Path("runs/mini-base")
    """Where scenes, checkpoints and the folder mini go."""
    further: Annotated[bool, tyro.conf.arg(name="continue")] = False
    """Start from the shipped weights instead of random ones; give it an --out of its own."""
    seed: int | None = None
    """Of scenes, first weights and batches; with --continue one that was not used yet when not given."""
    scenes: int | None = None
    """How many scenes are rendered to learn from."""
    steps: Annotated[int | None, tyro.conf.arg(aliases=["--max-steps"])] = None
    """Batches of each part; as many as planned when not given."""
    batch: Annotated[int | None, tyro.conf.arg(aliases=["--batch-size"])] = None
    """Pictures in a batch of the UNet; as many as planned when not given."""
    measure: int = 0
    """Train nothing: measure OUT/mini, or the shipped base where there is none, on so many held-out captions."""
    json: bool = False
    """Print the summary as JSON."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "scenes", "steps", "batch")
        check_at_least(self, 0, "measure")
        if self.seed == HELD_OUT:
            raise RequestError(f"--seed must not be {HELD_OUT}, whose scenes are kept to measure with")
        if self.further and "autoencoder" in self.only and "unet" not in self.only:
            raise RequestError("--continue --only autoencoder changes the latents: add unet, to learn them")

    def run(self) -> Summary:
        if self.measure:
            return self._measure()
        from t2i_shards.adapters.training.distributed import join_world
        from t2i_shards.jobs.mini_weights.base.training import TrainRequest, train_base

        parts = self.only or (("unet",) if self.further else PARTS)
        with join_world("cpu") as world:
            say = _say if world.is_main else _hush
            folder = train_base(TrainRequest(self.out, self._plan(), parts, self.further), say, world)
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) if folder else 0
        made = f"{size / 1e6:.1f} MB in {folder}" if folder else "no UNet yet, so no base"
        record = {"command": "mini-base", "folder": str(folder) if folder else None, "bytes": size}
        return Summary(f"mini-base: {made}", record, silent=not world.is_main)

    def _plan(self) -> Plan:
        plan = Plan()
        if self.further:
            from t2i_shards.adapters.base.mini import read_recipe

            plan = replace(plan, seed=1 + max(part["seed"] for part in read_recipe()["parts"]))
        changed = {name: getattr(self, name) for name in ("seed", "scenes", "batch")}
        changed |= dict.fromkeys(("vae_steps", "decoder_steps", "steps"), self.steps)
        return replace(plan, **{name: value for name, value in changed.items() if value is not None})

    def _measure(self) -> Summary:
        from t2i_shards.jobs.mini_weights.base.measure import measure_base
        from t2i_shards.jobs.mini_weights.base.ship import add_measured

        folder = self.out / "mini"
        base = str(folder) if folder.is_dir() else "mini"
        found = measure_base(base, self.measure, self.out, _say)
        if folder.is_dir():
            add_measured(folder, found.record())
        return Summary("\n".join(found.lines()), {"command": "mini-base", "base": base, **found.record()})


def _say(line: str) -> None:
    print(f"mini-base: {line}", file=sys.stderr, flush=True)


def _hush(line: str) -> None:
    """In place of `_say` on all workers but the first."""
