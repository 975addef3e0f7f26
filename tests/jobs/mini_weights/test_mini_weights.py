"""mini-weights: the same seed gives the same weights bit for bit, interrupted or not."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.jobs.mini_weights import MiniWeightsCommand, loop
from t2i_shards.jobs.mini_weights.loop import save_array
from t2i_shards.jobs.mini_weights.scenes import draw_views, load_scenes
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scenes import render

STEPS = 3
SMALL = {"seed": 7, "scenes": 6, "batch": 2, "steps": STEPS}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenes and nothing else."""
    folder = tmp_path_factory.mktemp("scenes")
    load_scenes(folder, 7, 6, lambda line: None)
    return folder


def trained(name: str, scenes: Path, out: Path, **changed: object) -> bytes:
    out.mkdir(exist_ok=True)
    for place in scenes.iterdir():
        (out / place.name).symlink_to(place) if not (out / place.name).exists() else None
    MiniWeightsCommand(only=(name,), out=out, **{**SMALL, **changed}).run()
    return (out / f"{name}.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["sketch", "depth", "seg"])
def test_a_seed_decides_every_bit_and_an_interruption_none(name, rendered, tmp_path, monkeypatch):
    once = trained(name, rendered, tmp_path / "once")

    class Killed(Exception):
        pass

    done = []

    def keep(checkpoint: Path, state: dict[str, object]) -> None:
        kept(checkpoint, state)
        done.append(state["step"])
        if state["step"] == 2:
            raise Killed

    kept = loop._keep
    monkeypatch.setattr("t2i_shards.jobs.mini_weights.train.KEEP_EVERY", 1)
    monkeypatch.setattr(loop, "_keep", keep)
    with pytest.raises(Killed):
        trained(name, rendered, tmp_path / "twice")
    assert trained(name, rendered, tmp_path / "twice") == once
    assert done == [1, 2, 3]


def test_another_seed_gives_other_weights(rendered, tmp_path):
    one = trained("sketch", rendered, tmp_path / "one")
    assert trained("sketch", rendered, tmp_path / "two", seed=8) != one


def test_the_sums_are_those_of_the_files(rendered, tmp_path):
    content = trained("sketch", rendered, tmp_path)
    digest, name = (tmp_path / "SHA256SUMS").read_text().split()
    assert (digest, name) == (hashlib.sha256(content).hexdigest(), "sketch.safetensors")


def test_scenes_are_rendered_once_and_exact(rendered):
    (chunk,) = load_scenes(rendered, 7, 6, pytest.fail)
    scene = render(7, 4)
    assert np.array_equal(chunk["picture"][4], scene.picture)
    assert np.array_equal(chunk["labels"][4], scene.labels)
    assert np.array_equal(chunk["edges"][4], scene.edges)
    assert np.allclose(chunk["inverse"][4], 1 / scene.depth, rtol=1e-3)


def test_a_batch_depends_on_seed_and_step_alone(rendered):
    chunks = load_scenes(rendered, 7, 6, pytest.fail)
    one, same, other = (draw_views(chunks, key, 3, 64, True) for key in ((7, 5), (7, 5), (7, 6)))
    assert np.array_equal(one.picture, same.picture)
    assert not np.array_equal(one.picture, other.picture)


def test_no_steps_is_refused():
    with pytest.raises(RequestError, match="--steps must be at least 1, not 0"):
        MiniWeightsCommand(steps=0)


def test_an_array_is_there_whole_or_not_at_all(tmp_path: Path, no_room: None) -> None:
    save_array(tmp_path / "small.npy", np.arange(50))
    assert np.load(tmp_path / "small.npy", mmap_mode="r").tolist() == list(range(50))
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        save_array(tmp_path / "large.npy", np.arange(500))
    assert [path.name for path in tmp_path.iterdir()] == ["small.npy"]
