"""The card of an adapter: README.md in its folder, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.start import name_start
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.provenance import OURS, are_ours, read_provenance
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import escape_markdown, number_of

CARD = "README.md"
SHIPPED = ("mini", "tiny", "tiny-xl")
"""Bases whose weights are this project's own."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PIPELINES = {"sd": "StableDiffusionAdapterPipeline", "sdxl": "StableDiffusionXLAdapterPipeline"}


def render_card(config: TrainConfig, base: Base, summary: TrainSummary) -> str:
    """What it is, how it was trained, whose work it builds on under which licence, and how diffusers loads it."""
    batch, lr, validation = config.optimizer.batch, config.optimizer.lr, config.record.validation
    trail = [*_trace_data(config), _trace_base(config, summary), *_trace_start(config)]
    free = all(are_ours(terms) for _, _, terms in trail)
    return "\n".join(
        [
            "---",
            *(f"{name}: {json.dumps(value)}" for name, value in _front_matter(config, free).items()),
            "---",
            "",
            f"# T2I-Adapter for {config.data.condition}",
            "",
            "A [T2I-Adapter](https://arxiv.org/abs/2302.08453), trained with t2i-shards:",
            f"{number_of(summary.steps, 'step', ',')} of {number_of(batch, 'sample')}",
            f"at a learning rate of {lr:g}. The loss on {number_of(validation, 'sample')} that it never saw was",
            f"{summary.first_validation:.4f} before and {summary.last_validation:.4f} after.",
            "",
            "## Use",
            "",
            "```python",
            f"from diffusers import {PIPELINES[base.family]}, T2IAdapter",
            *(["from t2i_shards.adapters.base.mini import find_mini"] if config.base.name == "mini" else []),
            "",
            'adapter = T2IAdapter.from_pretrained("the folder of this file")',
            f"pipeline = {PIPELINES[base.family]}.from_pretrained(",
            f"    {_name_base(config)}, adapter=adapter",
            ")",
            f'image = pipeline("a prompt", image=control_image).images[0]  # the {config.data.condition}',
            "```",
            "",
            "## Licences",
            "",
            "| what | made by | licence |",
            "|---|---|---|",
            *(f"| {' | '.join(map(escape_markdown, row))} |" for row in trail),
            "",
            "Those of the pictures, of the networks and of the base may bind what is made of them."
            if not free
            else "All of it is Apache-2.0.",
            "",
        ]
    )


def _front_matter(config: TrainConfig, free: bool) -> dict[str, str | list[str]]:
    """What the Hub reads. free: whether all that the adapter was made of is this project's own."""
    front: dict[str, str | list[str]] = {
        "library_name": "diffusers",
        "license": "apache-2.0" if free else "other",
        "pipeline_tag": "text-to-image",
        "tags": ["t2i-adapter", "t2i-shards", config.data.condition],
    }
    if HUB_ID.fullmatch(config.base.name) and not Path(config.base.name).exists():
        front["base_model"] = config.base.name
    return front


def _name_base(config: TrainConfig) -> str:
    """As the snippet is to give it."""
    return "find_mini()" if config.base.name == "mini" else json.dumps(config.base.name)


def _trace_base(config: TrainConfig, summary: TrainSummary) -> tuple[str, str, str]:
    licence = OURS if config.base.name in SHIPPED else "that of its publisher"
    return f"the frozen base {config.base.name}", f"sha256 of its tensors {summary.base_digest[:12]}…", licence


def _trace_start(config: TrainConfig) -> Iterator[tuple[str, str, str]]:
    if (name := name_start(config)) is not None:
        # Of a path the name alone: its folders concern nobody else.
        name = Path(name).name if Path(name).is_absolute() else name.removeprefix("hf://")
        yield f"the adapter that it began from, {name}", "unknown", "that of its publisher"


def _trace_data(config: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """(what, made by, licence) of the pictures and of the condition's column. Latents are the base's work."""
    for root in config.data.roots:
        try:
            dataset = Dataset.open(root)
            columns = [column for column in config.data.columns if column != config.data.latents]
            made = [read_provenance(dataset, column) for column in columns]
        except (RequestError, OSError):
            yield f"pictures of {root}", "unknown", "unknown"
            continue
        kind = str(dataset.description.source.get("kind"))
        yield f"pictures of {root}", kind, OURS if kind == "scenes" else "that of each picture"
        for of in made:
            yield f"column {of.column}", of.by, of.terms
