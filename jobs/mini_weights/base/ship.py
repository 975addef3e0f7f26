"""The folder of the base mini: networks in half precision, digests, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.adapters.base.mini import RECIPE, SUMS, read_recipe
from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import SIZE, WORLD
from t2i_shards.jobs.mini_weights.loop import TrainedWeights
from t2i_shards.pipeline.scenes import VERSION

if TYPE_CHECKING:
    from t2i_shards.adapters.base import StableDiffusion


def ship(
    base: StableDiffusion, folder: Path, plan: Plan, done: Mapping[str, TrainedWeights], further: bool
) -> None:
    """Write the base in diffusers' layout, with recipe and digests. The networks are in half precision after it.

    done: the parts that were trained. further: they began as the shipped ones, whose parts are listed first.
    """
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=base.vae.half(),
        text_encoder=base.text_encoders[0].half(),
        tokenizer=base.tokenizers[0],
        unet=base.unet.half(),
        scheduler=base.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    _settle_files(folder)
    before = read_recipe()["parts"] if further else []
    recipe = {
        "base": "mini",
        "licence": "Apache-2.0",
        "scenes": {"world": WORLD, "version": VERSION, "size": SIZE},
        "parts": [*before, *(_tell(name, trained, plan) for name, trained in done.items())],
    }
    _write(folder, recipe)


ONLY_HERE = ("_name_or_path", "is_local", "local_files_only")
"""What the libraries write into their files of where a network was loaded from."""


def _settle_files(folder: Path) -> None:
    """The same files whatever was loaded or tokenized before.

    transformers loads in the dtype that its file names, diffusers in float32: one pipeline needs both alike.
    """
    for path in folder.rglob("*.json"):
        record = json.loads(path.read_text())
        if path == folder / "text_encoder" / "config.json":
            record["dtype"] = "float32"
        if path.name == "tokenizer.json":
            record |= {"truncation": None, "padding": None}
        record = {name: value for name, value in record.items() if name not in ONLY_HERE}
        write_file(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def add_measured(folder: Path, found: Mapping[str, Any]) -> None:
    """Into the recipe."""
    _write(folder, {**read_recipe(folder), "measured": dict(found)})


def _tell(name: str, trained: TrainedWeights, plan: Plan) -> dict[str, Any]:
    return {
        "part": name,
        "seed": plan.seed,
        "scenes": min(plan.scenes, plan.vae_scenes) if name == "autoencoder" else plan.scenes,
        "batch": {"autoencoder": plan.vae_batch, "decoder": plan.decoder_batch, "unet": plan.batch}[name],
        "steps": trained.steps,
        "cpu_hours": round(trained.seconds / 3600, 2),
        **{"decoder": {"noise": plan.decoder_noise}, "unet": {"noise_offset": plan.noise_offset}}.get(name, {}),
    }


def _write(folder: Path, recipe: Mapping[str, Any]) -> None:
    """The recipe, and the digests of all files."""
    from t2i_shards.extractors.atomic import sha256_of

    write_json(folder / RECIPE, recipe)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    sums = "".join(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    write_file(folder / SUMS, sums)
