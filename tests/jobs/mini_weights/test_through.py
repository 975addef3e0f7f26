"""mini-weights --through: the shipped networks learn further, on what an autoencoder gives back of true scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i_shards.adapters.base import load_base
from t2i_shards.adapters.evaluation.fidelity import enlarge
from t2i_shards.adapters.inference.sampler import to_pixels
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.extractors.weights.checkpoints import read_tensors
from t2i_shards.extractors.weights.file import SHIPPED
from t2i_shards.jobs.mini_weights import MiniWeightsCommand, people, through
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT
from t2i_shards.jobs.mini_weights.through import SIZE, WORLD, Through
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scenes import Scene, render

SMALL = 128


@pytest.fixture(scope="module")
def mini() -> Through:
    return Through(load_base("mini"))


def test_every_second_picture_has_passed_the_autoencoder(mini: Through, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, passed = mini.render(7, 4), mini.render(7, 5)
    pictures = [render(7, index, SMALL, WORLD).picture for index in (4, 5)]
    assert np.array_equal(plain.picture, enlarge(pictures[0], SIZE))
    assert np.array_equal(passed.picture, mini.render(7, 5).picture)
    monkeypatch.setattr(through, "NOISE", 0)
    clean = mini.render(7, 5).picture
    with torch.no_grad():
        mean, _ = mini.base.encode(torch.from_numpy(pictures[1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
        given_back = to_pixels(mini.base.decode(mini.base.scale(mean)))[0]
    assert np.array_equal(clean, enlarge(given_back, SIZE))
    assert not np.array_equal(clean, passed.picture), "its latents are not clean"


def test_the_truth_is_that_of_the_scene(mini: Through) -> None:
    scene, true = mini.render(7, 5), render(7, 5, SIZE, WORLD)
    assert np.array_equal(scene.labels, true.labels)
    assert np.array_equal(scene.people.keypoints, true.people.keypoints)


@pytest.mark.parametrize("name", ["seg", "keypose"])
def test_the_shipped_network_learns_further(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one step at the beginning of a warm-up it is nearly what it was."""
    monkeypatch.setattr(people, "PIECE", 4)
    MiniWeightsCommand(only=(name,), out=tmp_path, scenes=4, steps=1, batch=2, through="mini").run()
    shipped, learnt = (
        read_tensors(SHIPPED / f"{name}.safetensors"),
        read_tensors(tmp_path / f"{name}-simple.safetensors"),
    )
    assert learnt.keys() == shipped.keys()
    learnable = [key for key in shipped if shipped[key].ndim > 1]
    assert any(not torch.equal(learnt[key], shipped[key]) for key in learnable)
    assert max(float((learnt[key].float() - shipped[key].float()).abs().max()) for key in learnable) < 1e-3


def test_the_scenes_that_are_kept_to_measure_with_are_refused() -> None:
    with pytest.raises(RequestError, match=f"--seed must not be {HELD_OUT}"):
        MiniWeightsCommand(seed=HELD_OUT, through="mini")


UNSEEN = 2_000_000
"""Seed of scenes that no training draws from."""


def judge(condition: str, variant: str, scenes: Sequence[Scene]) -> dict[str, float]:
    extractor = make_extractor(condition, variant)
    extractor.load("cpu")
    fidelity = extractor.format.fidelity
    assert fidelity is not None
    truths = [scene.labels if condition == "seg" else scene.people for scene in scenes]
    found = extractor(np.stack([scene.picture for scene in scenes]))
    counts = [fidelity.count(*pair) for pair in zip(found, truths, strict=True)]
    return dict(fidelity.evaluate(np.sum(counts, axis=0)))


def test_what_ships_sees_more_through_the_autoencoder_and_no_ghosts(mini: Through) -> None:
    passed = [mini.render(UNSEEN, index) for index in range(1, 24, 2)]
    seg = {variant: judge("seg", variant, passed)["miou"] for variant in ("mini", "mini-simple")}
    assert seg["mini-simple"] > seg["mini"] + 0.05
    keypose = {variant: judge("keypose", variant, passed)["pck"] for variant in ("mini", "mini-simple")}
    assert keypose["mini-simple"] >= keypose["mini"]
    empty = [scene for scene in passed if not len(scene.people)]
    assert len(empty) >= 3
    assert judge("keypose", "mini-simple", empty)["people_found"] == 0
