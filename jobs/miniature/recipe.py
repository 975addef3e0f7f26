"""How the miniature's adapters are trained and evaluated: on the base mini and simple scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.options import AdapterName
from t2i_shards.adapters.training.config import (
    BaseConfig,
    ComputeConfig,
    OptimizerConfig,
    RecordConfig,
    Schedule,
    TextCacheConfig,
    TrainConfig,
    VisitConfig,
)
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.jobs.train import TrainCommand, TrainWorkers

Name = Literal["sketch", "depth", "keypose", "seg", "color"]
NAMES: tuple[Name, ...] = ("sketch", "depth", "keypose", "seg", "color")
TRUTHS = ("sketch", "depth", "keypose", "seg")
SAMPLING = Sampling(steps=15, guidance=2.0, scale=1.5, guess_mode=True)
"""Features on both halves of guidance, as the paper has them, are followed less."""
OPTIMIZER = OptimizerConfig(batch=16, lr=3e-3, timesteps="uniform", weighting="snr", ema=0.99)
MEASURING_VARIANTS: dict[Name, str] = {"keypose": "mini-simple", "seg": "mini-simple"}
"""Variants by which conditions are measured, in place of mini: networks that know what mini's autoencoder makes of
simple scenes. Those of mini do not detect people as blurred as that."""
ENLARGED: dict[Name, int] = {"depth": 256, "keypose": 256, "seg": 256}
"""Side that the networks know; at 128 pixels that of depth is wrong about the scenes themselves."""
OWN_SAMPLINGS: dict[Name, Sampling] = {
    "color": replace(SAMPLING, scale=2.0, active_steps="beginning"),
}
"""Of conditions that are followed better so."""
NOISE_OFFSETS: dict[Name, float] = {"color": 1.0}
"""Of the trainings in which one helps. Without it the adapter of color learns little: even the noisiest latents
of a training show a picture's mean colours, and pure noise, which sampling begins with, shows none."""
NOISE_OFFSET_LEVELS: dict[Name, int] = {"color": 2}
"""The map of color has four cells, whose colours are to be learnt from it as well."""
LONGER: dict[Name, float] = {"keypose": 1.5, "seg": 1.5}
"""Times the steps of other conditions, of those that take longer to learn."""
SEED = 20
"""Of the scenes that adapters learn from; no network of this project has seen them."""


def describe_recipe(conditions: Sequence[Name]) -> dict[str, Any]:
    """What decides the rows of these conditions: with another recipe, or another base, they are made again."""
    from t2i_shards.adapters.base.mini import read_sums

    networks = {name: digest for name, digest in read_sums().items() if name.endswith(".safetensors")}
    sampling, optimizer = SAMPLING.record(), asdict(OPTIMIZER)
    if own := {name: OWN_SAMPLINGS[name].record() for name in conditions if name in OWN_SAMPLINGS}:
        sampling["own"] = own
    if offsets := {name: NOISE_OFFSETS[name] for name in conditions if name in NOISE_OFFSETS}:
        optimizer["noise_offset"] = offsets
    if levels := {name: NOISE_OFFSET_LEVELS[name] for name in conditions if name in NOISE_OFFSET_LEVELS}:
        optimizer["noise_offset_levels"] = levels
    if longer := {name: LONGER[name] for name in conditions if name in LONGER}:
        optimizer["longer"] = longer
    # The kernel distance sees by mini's network of seg.
    seen = [("seg", "mini"), *((name, measuring_variant_of(name)) for name in conditions)]
    return {
        "sampling": sampling,
        "optimizer": optimizer,
        "base": networks,
        "enlarged": {name: ENLARGED.get(name) for name in conditions},
        "extractors": find_networks(seen),
    }


def find_networks(seen: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Weight file -> sha256, of these conditions' variants."""
    from t2i_shards.extractors.registry import weight_files

    return {file.filename: file.sha256 for each in seen for file in weight_files(*each)}


def measuring_variant_of(condition: Name) -> str:
    """The variant whose network measures it."""
    return MEASURING_VARIANTS.get(condition, "mini")


def sampling_of(condition: Name) -> Sampling:
    """How pictures with the adapter of this condition are made."""
    return OWN_SAMPLINGS.get(condition, SAMPLING)


def own_weights(conditions: Sequence[Name]) -> dict[Name, float]:
    """Weights of the adapters in a composition, in the ratio of the scales that they have alone."""
    return {name: OWN_SAMPLINGS[name].scale / SAMPLING.scale for name in conditions if name in OWN_SAMPLINGS}


def own_active_steps(conditions: Sequence[Name]) -> dict[Name, str]:
    """When the adapters in a composition act, where it is not as SAMPLING says."""
    return {name: OWN_SAMPLINGS[name].active_steps for name in conditions if name in OWN_SAMPLINGS}


def plan_training(
    condition: Name,
    root: Path,
    run: Path,
    steps: int,
    adapter: AdapterName = "base",
    timesteps: Schedule = OPTIMIZER.timesteps,
) -> TrainCommand:
    """Of an adapter, on the scenes in `root`, whose latents are there."""
    return TrainCommand(
        TrainConfig(
            data=DataConfig((str(root),), condition, latents="latents"),
            out=run,
            base=BaseConfig("mini"),
            adapter=adapter,
            steps=steps,
            optimizer=replace(OPTIMIZER, timesteps=timesteps),
            visits=VisitConfig(
                noise_offset=NOISE_OFFSETS.get(condition),
                noise_offset_levels=NOISE_OFFSET_LEVELS.get(condition, 1),
            ),
            texts=TextCacheConfig(run.parent / "texts"),
            record=RecordConfig(validate_every=200),
            compute=ComputeConfig(threads=1),
        ),
        TrainWorkers(engine="local"),
    )


def plan_evaluation(condition: Name, root: Path, run: Path, out: Path, samples: int, seeds: int) -> EvaluateConfig:
    """By this project's own networks, which are the only ones that know these scenes."""
    return EvaluateConfig(
        str(root),
        condition,
        "mini",
        run,
        out,
        without=out.parent / "text-alone",
        enlarge=ENLARGED.get(condition),
        samples=samples,
        sampling=sampling_of(condition),
        variant=measuring_variant_of(condition),
        seeds=seeds,
        batch=16,
        quality=False,
    )
