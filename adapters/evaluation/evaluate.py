"""How far the pictures of an adapter or a ControlNet follow their condition and how good they are, compared with
the same pictures without it and with another sample's condition.

All pictures of a sample begin with the same noise and the same caption. The other condition is that of the next
sample that shows something: a keypose without people asks for nothing. Pictures made with it and pictures made
without the adapter are measured twice: against the sample's own condition and against the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from t2i_shards.adapters.base import Base, encode_picture, load_base
from t2i_shards.adapters.base.load import DTYPES, choose_device
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.example import choose_wrong
from t2i_shards.adapters.evaluation.fidelity import Extract, count_fidelity, enlarge_for
from t2i_shards.adapters.evaluation.image_metrics import Judge, Networks
from t2i_shards.adapters.evaluation.interval import Counts, estimate, estimate_difference
from t2i_shards.adapters.evaluation.picture_sets import EvalExamples, Maker, Pictures, PictureSet, Progress
from t2i_shards.adapters.evaluation.report import (
    ANOTHER,
    CEILING,
    FOLLOWS_ANOTHER,
    OWN_PICTURE,
    WITH,
    WITHOUT,
    WITHOUT_FOLLOWS_ANOTHER,
    Evaluation,
    Row,
    Verdict,
    table_lines,
)
from t2i_shards.adapters.evaluation.samples import EvalSamples, choose_samples, find_run
from t2i_shards.adapters.evaluation.sheet import write_sheet
from t2i_shards.adapters.evaluation.subject import Subject, read_subject
from t2i_shards.adapters.inference.sampler import to_pixels
from t2i_shards.adapters.model.controlnet import refuse_missing
from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.provenance import choose_variant
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.extract import load_extractor
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.plain import number_of

FEW = 16
"""Samples of which a bootstrap's intervals are too narrow."""
AGAINST_ANOTHER = {WITHOUT: WITHOUT_FOLLOWS_ANOTHER, ANOTHER: FOLLOWS_ANOTHER}
"""Pictures that are also compared with the other sample's condition, and as what."""


def evaluate(
    config: EvaluateConfig, progress: Progress | None = None, networks: Networks | None = None
) -> Evaluation:
    """Make the pictures that are not there yet, measure them, and write the table. Raises RequestError."""
    out = _choose_out(config)
    device = choose_device(config.device, config.offload)
    subject = read_subject(config, device)
    eval_samples = choose_samples(config)
    column = config.columns[0] if config.columns else None
    variant = config.variant or choose_variant(config.condition, config.root, column)
    extractor = enlarge_for(load_extractor(config.condition, variant, config.weights, device), config.enlarge)
    base = load_base(config.base, device, DTYPES[config.precision], config.offload)
    subject.suit(base)
    size = config.size or eval_samples.size or _shortest_side(eval_samples)
    examples = EvalExamples(eval_samples, config.condition, size)
    maker = Maker(config, base, subject, examples, out / "pictures", progress or (lambda done, of: None))
    wrong = choose_wrong(examples, config.condition)
    picture_sets = (
        PictureSet("with", WITH, lambda place: place),
        PictureSet("without", WITHOUT, None),
        PictureSet("wrong", ANOTHER, lambda place: wrong[place]),
    )
    made = {each.title: maker.make(each) for each in picture_sets}
    made[CEILING] = lambda: _reconstruct(base, examples)
    made[OWN_PICTURE] = lambda: (example.picture for example in examples)
    own = [example.map for example in examples]
    counted: dict[str, Counts] = {}
    for title, pictures in made.items():
        given = {title: own}
        if title in AGAINST_ANOTHER:
            given[AGAINST_ANOTHER[title]] = [own[place] for place in wrong]
        seeds = config.seeds if title in (WITH, WITHOUT, ANOTHER) else 1
        counted |= _count(config.condition, given, pictures, extractor, seeds)
    judge = Judge(config, networks or Networks(), device, examples)
    fidelity = {title: estimate(counts) for title, counts in counted.items()}
    rows = [
        Row(title, fidelity.get(title, {}), **(judge(made[title]) if title in made else {}))
        for title in fidelity or made
    ]
    about = _describe(config, eval_samples, variant, subject, maker.base_digest, size, str(base.device))
    notes = [*judge.notes, *_list_doubts(examples, base, judge.captions)]
    verdict = find_verdict(config.condition, counted[WITH], counted[WITHOUT], subject.kind) if counted else None
    shown = write_sheet(out, examples, wrong, made)
    evaluation = Evaluation(about, rows, notes, verdict, shown, made, judge.captions)
    write_json(out / "evaluation.json", evaluation.record())
    write_file(out / "evaluation.md", "\n".join(table_lines(evaluation)) + "\n")
    return evaluation


def _list_doubts(examples: EvalExamples, base: Base, captions: Sequence[str]) -> Iterator[str]:
    """Why the numbers may mislead, a line each."""
    if len(examples) < FEW:
        yield (
            f"{number_of(len(examples), 'sample')}: too few for intervals to be relied on; hold out {FEW} or "
            "more (train --validation), or evaluate on other data."
        )
    if longer := sum(bool(base.find_unread(caption)) for caption in captions):
        yield f"{number_of(longer, 'caption')} cut short: longer than what the text encoder reads."


def _choose_out(config: EvaluateConfig) -> Path:
    """--out, or the folder of evaluations in the RUN of what is evaluated. Raises RequestError."""
    if config.out:
        return config.out
    if run := find_run(config.subject):
        return run / "evaluation"
    if config.controlnet is not None:
        refuse_missing(config.controlnet)
    elif not config.subject.exists():
        raise RequestError(f"there is no adapter {config.subject}: give RUN/adapter, RUN, or a file")
    raise RequestError(f"--out must be given, as {config.subject} does not lie in a RUN")


def _describe(
    config: EvaluateConfig,
    eval_samples: EvalSamples,
    variant: str,
    subject: Subject,
    base_digest: str,
    size: int,
    device: str,
) -> dict[str, Any]:
    """What was evaluated and how, JSON-able."""
    return {
        "root": config.root,
        "condition": config.condition,
        "column": config.columns[0] if config.columns else "made from the crop",
        "data": eval_samples.digest,
        "samples": len(eval_samples.samples),
        "held_out": eval_samples.held_out,
        "keys": [sample.key for sample in eval_samples.samples],
        "size": size,
        "seed": config.seed,
        "seeds": config.seeds,
        **config.sampling.record(),
        "extractor": f"{config.condition}, variant {variant}"
        + (f", from pictures enlarged to {config.enlarge} pixels" if config.enlarge else ""),
        "kind": subject.kind,
        "adapter": str(subject.path),
        "adapter_sha256": subject.digest,
        "base": config.base,
        "base_sha256": base_digest,
        "precision": config.precision,
        "batch": config.batch,
        "quality": config.quality,
        "device": device,
    }


def _count(
    condition: str, example: Mapping[str, Sequence[Any]], pictures: Pictures, extractor: Extract, seeds: int
) -> dict[str, Counts]:
    """What is counted of each sample, of all seeds together, against each series of maps, by its title.

    Empty for a condition that has no measure.
    """
    series = [[*maps] * seeds for maps in example.values()]
    counted = count_fidelity(condition, series, pictures(), extractor)
    return {title: counts.fold(seeds) for title, counts in zip(example, counted, strict=False)}


def find_verdict(condition: str, with_adapter: Counts, without: Counts, kind: str = "adapter") -> Verdict:
    """For a condition that has a measure. kind: of what is evaluated."""
    fidelity = format_of(condition).fidelity
    assert fidelity is not None
    measure = fidelity.measures[0]
    better, worse = (with_adapter, without) if measure.better == "higher" else (without, with_adapter)
    return Verdict(condition, measure, estimate_difference(better, worse, measure.name), kind)


def _shortest_side(eval_samples: EvalSamples) -> int:
    sides: list[int] = [min(decode_rgb(sample.members["jpg"]).shape[:2]) for sample in eval_samples.samples]
    if min(sides) < SIZE_MULTIPLE:
        raise RequestError(f"pictures must have at least {SIZE_MULTIPLE} pixels a side, and one has {min(sides)}")
    return min(sides) // SIZE_MULTIPLE * SIZE_MULTIPLE


@torch.no_grad()
def _reconstruct(base: Base, examples: EvalExamples) -> Iterator[np.ndarray]:
    """The samples' own pictures as the autoencoder gives them back: no generated picture can be sharper."""
    for example in examples:
        mean, _ = encode_picture(base, example.picture)
        yield to_pixels(base.decode(base.scale(mean)))[0]
