"""How the mini RTMO is trained: its targets and loss, and that an interrupted run resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2i_shards.jobs.mini_weights import keypose, people
from t2i_shards.jobs.mini_weights.keypose import Training, rate_at, train
from t2i_shards.jobs.mini_weights.keypose_loss import MARGIN, assign, boxes_of
from t2i_shards.jobs.mini_weights.people import SIZE, cut


def somebody(x: float, y: float, side: float) -> np.ndarray:
    """(17, 3), all known, within `side` px around (x, y)."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (17, 3)) * side + (x, y, 0)
    points[:2, :2] = (x - side / 2, y - side / 2), (x + side / 2, y + side / 2)
    points[:, 2] = 1
    return points


@pytest.mark.parametrize("size", [192, SIZE])
def test_keypoints_lie_where_their_pixels_lie(size: int) -> None:
    true = somebody(110, 130, 70)
    for seed in range(20):
        picture = np.zeros((SIZE, SIZE, 3), np.uint8)
        # The left eye is red and the right one green: a mirrored picture changes their names, not their colours.
        for joint, channel in [(1, 2), (2, 1), (16, 0)]:
            x, y = np.floor(true[joint, :2]).astype(int)
            picture[y - 2 : y + 3, x - 2 : x + 3, channel] = 255
        crop, found = cut(picture, true[None], size, np.random.default_rng(seed))
        mirror = {1: 2, 2: 1, 16: 15}
        for joint, channel in [(1, 2), (2, 1), (16, 0)]:
            rows, columns = np.nonzero(crop[..., channel] > 150)  # the grey around a scene is darker
            if not len(rows) or not len(found):
                continue
            spot = np.array([columns.mean(), rows.mean()]) + 0.5
            either = [np.abs(found[0, name, :2] - spot).max() for name in (joint, mirror[joint])]
            if spot.min() > 4 and spot.max() < size - 4:
                assert min(either) < 1.5


def test_a_person_is_learnt_by_the_cells_around_their_middle() -> None:
    two = np.stack([somebody(60, 70, 50), somebody(150, 100, 60)])
    targets = assign([two, np.zeros((0, 17, 3))], 12, 12, 16)
    assert targets.score.shape == (2, 144)
    assert not targets.score[1].any()
    assert targets.score[0].max() == 1
    assert len(targets.cell) == int((targets.score > 0).sum())
    boxes, sides = boxes_of(two)
    for prior, keypoints, box in zip(targets.prior, targets.keypoints, targets.box, strict=True):
        owner = int(np.abs(boxes[:, :2] - box[:2].numpy()).sum(1).argmin())
        assert np.abs(boxes[owner, :2] - prior.numpy()).max() <= 16
        assert np.allclose(keypoints, two[owner], atol=1e-4)
    assert boxes[0, 2:] == pytest.approx(50 * (1 + 2 * MARGIN))
    assert sides[1] == pytest.approx(60)


def test_the_learning_rate_does_not_depend_on_the_last_step() -> None:
    short, long = Training(steps=2000), Training(steps=3000)
    assert [rate_at(step, short) for step in range(600)] == [rate_at(step, long) for step in range(600)]
    assert rate_at(short.steps - 1, short) < 1e-5
    assert rate_at(short.total - 1, short) < 1e-5


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PIECE", 6)
    monkeypatch.setattr(keypose, "SAVED_EVERY", 1)
    monkeypatch.setattr(keypose, "LOG_EVERY", 2)
    few = {"scenes": 6, "steps": 3, "more": 1, "fall": 2, "batch": 3, "crop": 64, "whole": 1}

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Training(out=tmp_path / "a", **few), stop)
    again = train(Training(out=tmp_path / "a", **few), lambda line: None)
    whole = train(Training(out=tmp_path / "b", **few), lambda line: None)
    assert again.read_bytes() == whole.read_bytes()
