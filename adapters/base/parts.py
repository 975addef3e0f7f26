"""The parts of a base in diffusers' layout: networks and tokenizers, whole or refused."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_shards.extractors.networks.published import hide_loading_bars
from t2i_shards.pipeline.errors import RequestError, describe_error

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

LEAST_TOKENS, MOST_TOKENS = 512, 1 << 16
"""How many a CLIP tokenizer has at least, two for each byte, and how many it may read of a caption."""
HALF = "fp16"
"""The variant of weights in half precision, which may be all that a base has."""


def read_network(name: str, network: Any, part: str) -> Any:
    """A network that lacks nothing: `from_pretrained` warns of a tensor that is missing, and makes it random.

    name: a folder or a hub id. Raises OSError or ValueError where it cannot be read, RequestError where a tensor
    is missing.
    """
    folder = Path(name) / part
    variants = (_choose_variant(folder),) if folder.is_dir() else (None, HALF)
    downloads = sys.stderr.isatty() and not Path(name).is_dir()
    with nullcontext() if downloads else hide_loading_bars():
        for variant in variants:
            try:
                read, report = network.from_pretrained(
                    name, subfolder=part, use_safetensors=True, variant=variant, output_loading_info=True
                )
                break
            except OSError:
                if variant == variants[-1]:
                    raise
    for lacking in (*report["missing_keys"], *report["mismatched_keys"]):
        raise RequestError(f"--base {name} is incomplete: {part} has no {lacking} of the right shape")
    return read


def _choose_variant(folder: Path) -> str | None:
    """Which of diffusers' variants a network is stored in. Raises ValueError where all weights are pickles."""
    names = sorted(path.name for path in folder.iterdir())
    stored = [name for name in names if name.endswith(".safetensors")]
    pickles = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
    if pickles and not stored:
        raise ValueError(
            f"{folder.name} has its weights in {pickles[0]} alone, and such files can run code when opened; "
            "take a base in .safetensors, or convert this one with diffusers' save_pretrained"
        )
    return HALF if stored and all(f".{HALF}" in name for name in stored) else None


def read_tokenizer(place: str, part: str) -> CLIPTokenizer:
    """One that knows words: transformers makes one that knows none where the files are missing."""
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(place, subfolder=part)
    except OSError:
        raise
    # Of damaged files the tokenizers' own library raises plain Exception.
    except Exception as error:
        raise ValueError(
            f"its {part} is damaged ({describe_error(error)[:200]}); restore the files in it from where it came"
        ) from None
    if len(tokenizer) < LEAST_TOKENS:
        raise ValueError(f"{place} has no vocabulary in {part} (vocab.json and merges.txt)")
    if tokenizer.model_max_length > MOST_TOKENS:
        raise ValueError(f"{place} has no model_max_length in {part}/tokenizer_config.json")
    return tokenizer
