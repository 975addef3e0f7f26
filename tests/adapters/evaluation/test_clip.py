"""CLIP as it is loaded here, compared with transformers' own use of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t2i_shards.adapters.base.tiny import byte_vocabulary
from t2i_shards.adapters.evaluation import clip as module
from t2i_shards.adapters.evaluation.clip import Clip
from tests.adapters.evaluation.test_image_metrics import shades

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A folder with a tiny CLIP in the published files' layout, and transformers' network with its weights."""
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    shape = {
        "projection_dim": 8,
        "text_config": {**SMALL, "vocab_size": 514, "projection_dim": 8, "eos_token_id": 513},
        "vision_config": {**SMALL, "patch_size": 56, "projection_dim": 8},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPModel(CLIPConfig(**shape)).eval()
    folder = tmp_path / "clip-vit-large-patch14"
    folder.mkdir()
    # The published file has the positions' numbers too.
    numbers = {"text_model": torch.arange(77)[None], "vision_model": torch.arange(17)[None]}
    positions = {f"{part}.embeddings.position_ids": row for part, row in numbers.items()}
    save_file({**network.state_dict(), **positions}, folder / "model.safetensors")
    (folder / "vocab.json").write_text(json.dumps(byte_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = []
    for file in module.FILES:
        digest = hashlib.sha256((folder / file.filename).read_bytes()).hexdigest()
        files.append(replace(file, sha256=digest, bytes=None))
    monkeypatch.setattr(module, "FILES", files)
    monkeypatch.setattr(module, "SHAPE", shape)
    return tmp_path, network


@torch.no_grad()
def test_clip_score_is_the_cosine_that_transformers_has(clip: tuple[Path, Any]) -> None:
    folder, network = clip
    match = Clip(folder, "cpu")
    pictures, captions = shades(3), ["a disc", "two blue cubes", "x" * 500]
    scores = match(pictures, captions)
    assert scores.shape == (3,)
    for place, caption in enumerate(captions):
        alone = match(pictures[place : place + 1], [caption])
        np.testing.assert_allclose(alone, scores[place : place + 1], atol=1e-6)
    pixels = match._processor(images=list(pictures), return_tensors="pt").pixel_values
    tokens = match._tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    logits = network(pixel_values=pixels, **tokens).logits_per_image / network.logit_scale.exp()
    np.testing.assert_allclose(scores, logits.diagonal().numpy(), atol=1e-6)
    assert not np.allclose(scores, match(pictures[::-1].copy(), captions))
