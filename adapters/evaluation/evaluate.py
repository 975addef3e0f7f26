"""How closely an adapter's pictures follow the condition, and how good they are.

They are compared with pictures made without the adapter, and with those made with a wrong condition.

All pictures of a sample begin with the same noise and the same caption. The wrong condition is the next sample's
that shows something: a keypose without people asks for nothing. What is measured is always fidelity to the
sample's own, so that the row shows what comes from the caption alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from adapters.base import Base, load_base
from adapters.base.load import DTYPES, choose_device
from adapters.evaluation.config import EvaluateConfig
from adapters.evaluation.example import choose_wrong
from adapters.evaluation.fidelity import measure_fidelity
from adapters.evaluation.grid import lay_out
from adapters.evaluation.image_metrics import Judge, Networks
from adapters.evaluation.report import Evaluation, Row, table_lines
from adapters.evaluation.samples import EvalSamples, choose_samples, find_run
from adapters.evaluation.variants import EvalExamples, Maker, Pictures, Progress, Way
from adapters.inference.sampler import to_pixels
from adapters.model.convert import read_adapter
from extractors.atomic import write_file, write_json
from extractors.maps import png
from extractors.maps.crop import SIZE_MULTIPLE
from extractors.registry import EXTRACTORS
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RequestError
from pipeline.extractor import load_extractor
from pipeline.image.stored import decode_rgb

SHOWN = 8
"""Samples on sheet.png."""


def evaluate(
    config: EvaluateConfig, progress: Progress | None = None, networks: Networks | None = None
) -> Evaluation:
    """Make the pictures that are not there yet, measure them, and write the table. Raises RequestError."""
    run = find_run(config.adapter)
    out = config.out or (run and run / "evaluation")
    if out is None:
        raise RequestError(f"--out must be given, as {config.adapter} does not lie in a RUN")
    device = choose_device(config.device)
    adapter = read_adapter(config.adapter).to(device)
    eval_samples = choose_samples(config)
    variant = config.variant or _variant_of_column(config)
    extractor = load_extractor(config.condition, variant, config.weights, device)
    base = load_base(config.base, device, DTYPES[config.precision])
    size = config.size or eval_samples.size or _shortest_side(eval_samples)
    examples = EvalExamples(eval_samples, config.condition, size)
    maker = Maker(config, base, adapter, examples, out / "pictures", progress or (lambda done, of: None))
    wrong = choose_wrong(examples, config.condition)
    ways = (
        Way("with", "with its condition", lambda place: place),
        Way("without", "without the adapter", None),
        Way("wrong", "with another sample's condition", lambda place: wrong[place]),
    )
    made = {way.title: maker.make(way) for way in ways}
    made["its own picture, through the autoencoder"] = lambda: _through(base, examples)
    judge = Judge(config, networks or Networks(), device, examples)
    maps = [example.map for example in examples]
    rows = [
        Row(title, measure_fidelity(config.condition, maps, pictures(), extractor), *judge(pictures))
        for title, pictures in made.items()
    ]
    about = {
        "root": config.root,
        "condition": config.condition,
        "column": config.columns[0] if config.columns else "made from the crop",
        "data": eval_samples.digest,
        "samples": len(examples),
        "held_out": eval_samples.held_out,
        "keys": [sample.key for sample in eval_samples.samples],
        "size": size,
        "seed": config.seed,
        **config.sampling.record(),
        "extractor": f"{config.condition}, variant {variant}",
        "adapter": str(config.adapter),
        "adapter_sha256": maker.adapter_digest,
        "base": config.base,
        "base_sha256": maker.base_digest,
        "precision": config.precision,
        "batch": config.batch,
        "device": str(base.device),
    }
    longer = sum(bool(base.find_unread(caption)) for caption in judge.captions)
    if longer:
        judge.notes.append(
            f"{longer} captions are longer than what the text encoder reads; their ends are left out."
        )
    evaluation = Evaluation(about, rows, judge.notes)
    _write_sheet(out / "sheet.png", examples, list(made.values()))
    write_json(out / "evaluation.json", evaluation.record())
    write_file(out / "evaluation.md", "\n".join(table_lines(evaluation)) + "\n")
    return evaluation


def _variant_of_column(config: EvaluateConfig) -> str:
    """The variant that the column's recipe names; default for a column that somebody else made."""
    recipe = Dataset.open(config.root).recipe(config.columns[0]) if config.columns else None
    variant = str((recipe or {}).get("variant"))
    return variant if variant in EXTRACTORS[config.condition] else "default"


def _shortest_side(eval_samples: EvalSamples) -> int:
    sides: list[int] = [min(decode_rgb(sample.members["jpg"]).shape[:2]) for sample in eval_samples.samples]
    if min(sides) < SIZE_MULTIPLE:
        raise RequestError(f"pictures must have at least {SIZE_MULTIPLE} pixels a side, and one has {min(sides)}")
    return min(sides) // SIZE_MULTIPLE * SIZE_MULTIPLE


@torch.no_grad()
def _through(base: Base, examples: EvalExamples) -> Iterator[np.ndarray]:
    """The samples' own pictures as the autoencoder gives them back: no generated picture can be sharper."""
    for example in examples:
        pixels = torch.tensor(example.picture).permute(2, 0, 1)[None].to(base.device)
        mean, _ = base.encode(pixels.float() / 127.5 - 1)
        yield to_pixels(base.decode(base.scale(mean)))[0]


def _write_sheet(path: Path, examples: EvalExamples, made: list[Pictures]) -> None:
    """Control image, pictures in the order of the table, and the own picture, of the first samples."""
    columns = [pictures() for pictures in made]
    rows = [
        [examples[place].control_image, *(next(column) for column in columns), examples[place].picture]
        for place in range(min(SHOWN, len(examples)))
    ]
    write_file(path, png.encode_rgb(lay_out(rows)))
