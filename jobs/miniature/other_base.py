"""Row 5: the adapters, unchanged, on a copy of mini that was fine-tuned on scenes of another palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.row import Case, Row, each_alone
from t2i_shards.pipeline.shards.receipt import digest_json

if TYPE_CHECKING:
    import numpy as np


PLAN = Plan(seed=21, scenes=1000, steps=400, batch=16, rate=3e-4, kept_every=50)
"""Of the fine-tuning; the seed is that of no other scenes."""


def change_base(experiment: Experiment, case: Case) -> Sequence[Finding]:
    from t2i_shards.adapters.base import load_base

    (condition,) = case
    base = load_base(str(fine_tune(experiment)))
    adapter = experiment.train(condition)
    made = {
        "text alone": generate_pictures(experiment, GenerationConfig(base=base)),
        "adapter": generate_pictures(experiment, GenerationConfig({condition: adapter}, base=base)),
    }
    show(experiment, f"05-{condition}", case, made)
    alone, with_adapter = (count(experiment, condition, pictures) for pictures in made.values())
    moved = _measure_palette(experiment, made["text alone"])
    return [
        find("other base, text alone", condition, alone, more=moved),
        find("other base, the adapter unchanged", condition, with_adapter, alone),
    ]


def fine_tune(experiment: Experiment) -> Path:
    """The folder of the copy, one for each mini and plan; trained unless it was, on from its checkpoint."""
    import torch

    from t2i_shards.adapters.base import StableDiffusion, digest_base, load_base
    from t2i_shards.adapters.base.mini import SUMS
    from t2i_shards.adapters.training.distributed import World
    from t2i_shards.extractors.batch import fixed_threads
    from t2i_shards.jobs.mini_weights.base import denoiser
    from t2i_shards.jobs.mini_weights.base.latents import load_latents
    from t2i_shards.jobs.mini_weights.base.scenes import load_scenes
    from t2i_shards.jobs.mini_weights.base.ship import ship

    plan = replace(PLAN, steps=min(PLAN.steps, experiment.steps), scenes=min(PLAN.scenes, experiment.scenes))
    digests = digest_base(experiment.base), digest_json(asdict(plan))
    place = experiment.out / "-".join(("other-base", str(plan.steps), *(digest[:8] for digest in digests)))
    if (place / "mini" / SUMS).is_file():
        return place / "mini"
    base, world = load_base("mini"), World(torch.device("cpu"))
    assert isinstance(base, StableDiffusion)
    with fixed_threads(1):
        scenes = load_scenes(place, plan.seed, plan.scenes, experiment.say, world)
        scenes = replace(scenes, pictures=[_recolour(pictures) for pictures in scenes.pictures])
        latents = load_latents(base.vae, scenes, place, experiment.say, world)
        dataset = denoiser.prepare(latents, scenes.captions, base.tokenizers[0])
        base.unet.requires_grad_(True)
        both = torch.nn.ModuleDict({"unet": base.unet, "text_encoder": base.text_encoders[0]})
        trained = denoiser.train(plan, both, base.scheduler, dataset, place, experiment.say, world)
    ship(base, place / "mini", plan, {"unet": trained}, further=True)
    return place / "mini"


def _recolour(pictures: np.ndarray) -> np.ndarray:
    """The other palette: red and blue exchanged."""
    return pictures[..., ::-1]


def _measure_palette(experiment: Experiment, pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """Kernel distance of pictures from scenes of either palette: whether the fine-tuning did anything."""
    import numpy as np

    from t2i_shards.adapters.evaluation.kernel_distance import MiniFeatures, kernel_distance

    see = MiniFeatures(None, "cpu")
    true = np.stack([example.picture for example in experiment.examples("sketch")])
    ours = see(np.stack(pictures))
    return {
        "distance from its palette": kernel_distance(ours, see(_recolour(true)), paired=True),
        "distance from mini's palette": kernel_distance(ours, see(true), paired=True),
    }


OTHER_BASE = Row(5, "unchanged on a fine-tuned base", each_alone, change_base, {"fine_tuning": asdict(PLAN)})
