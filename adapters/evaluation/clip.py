"""CLIP ViT-L/14 through transformers: which picture fits which caption, and what pictures have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from t2i_shards.extractors.weights.checkpoints import read_tensors
from t2i_shards.extractors.weights.file import WeightFile
from t2i_shards.extractors.weights.resolve import resolve

REPOSITORY, REVISION = "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41"
LENGTH = 77
"""Tokens that CLIP reads of a caption."""


def _file(filename: str, size: int | None, sha256: str) -> WeightFile:
    return WeightFile(
        name="clip-vit-large-patch14",
        hub=REPOSITORY,
        revision=REVISION,
        filename=filename,
        bytes=size,
        sha256=sha256,
        licence="MIT",
    )


FILES = (
    _file("model.safetensors", 1_710_540_580, "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
    _file("vocab.json", None, "3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69"),
    _file("merges.txt", None, "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"),
)
SHAPE: dict[str, Any] = {
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
"""The network's shape, as in config.json of the published file."""


class Clip:
    """CLIP ViT-L/14, through transformers: cosine of picture and caption, which is cut to 77 tokens."""

    name = "CLIP ViT-L/14"

    def __init__(self, weights: Path | None, device: str) -> None:
        """Raises WeightsUnavailable or WeightsDamaged."""
        from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

        from t2i_shards.extractors.networks.published import load_published

        files = {file.filename: resolve(file, weights) for file in FILES}
        tensors = read_tensors(files["model.safetensors"])
        vocabulary, merges = (files[name].read_text(encoding="utf-8") for name in ("vocab.json", "merges.txt"))
        pairs = [tuple(line.split()) for line in merges.splitlines()[1:] if line]  # the first line is the version
        self._tokenizer = CLIPTokenizer(vocab=json.loads(vocabulary), merges=pairs, model_max_length=LENGTH)
        self._network: Any = load_published(CLIPModel, CLIPConfig(**SHAPE), tensors).to(device)
        self._processor, self._device = CLIPImageProcessor(), device

    def __call__(self, pictures: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        found = self._see(pictures, captions)
        return np.asarray((found.image_embeds * found.text_embeds).sum(dim=1).cpu().numpy())

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) -> float32 (N, D), of length 1."""
        return np.asarray(self._see(pictures, [""] * len(pictures)).image_embeds.cpu().numpy())

    @torch.no_grad()
    def _see(self, pictures: np.ndarray, captions: Sequence[str]) -> Any:
        pixels = self._processor(images=list(pictures), return_tensors="pt").pixel_values
        tokens = self._tokenizer(
            list(captions), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        return self._network(
            pixel_values=pixels.to(self._device),
            input_ids=tokens.input_ids.to(self._device),
            attention_mask=tokens.attention_mask.to(self._device),
        )


class ClipFeatures:
    """CLIP ViT-L/14's embedding of a picture, of length 1, as in CMMD."""

    name = Clip.name

    def __init__(self, weights: Path | None, device: str) -> None:
        """Raises WeightsUnavailable or WeightsDamaged."""
        self._clip = Clip(weights, device)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return self._clip.embed(pictures)
