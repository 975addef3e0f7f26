"""The tokenizer of the base mini: CLIP's kind, with a token for every word of the captions it is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

END = "</w>"


def build_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """Other words fall back to parts of known ones and to bytes. The same words give the same tokenizer."""
    from transformers import CLIPTokenizer

    from t2i_shards.adapters.base.mini.networks import TOKENS
    from t2i_shards.adapters.base.tiny import byte_vocabulary

    words = {word for caption in captions for word in caption.lower().replace(",", " ").split()}
    merges = merge_pairs(words)
    vocabulary = byte_vocabulary()
    for first, second in merges:
        vocabulary.setdefault(first + second, len(vocabulary))
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TOKENS)


def merge_pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order, that make each word one token: always the pair that occurs most, of equals the
    first in the alphabet.

    Not the trainer of `tokenizers`: of pairs that occur equally often it takes any, another in each process.
    """
    parts = [[*word[:-1], word[-1] + END] for word in sorted(words)]
    merges = []
    while counted := Counter(pair for part in parts for pair in pairwise(part)):
        chosen = min(counted, key=lambda pair: (-counted[pair], pair))
        merges.append(chosen)
        parts = [_merge(part, chosen) for part in parts]
    return merges


def _merge(part: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in part:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
