"""Scenes: the same bits everywhere, captions that are true, ground truth that agrees with itself."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from t2i_shards.extractors.maps.people import (
    LEFT_ANKLE,
    LEFT_EAR,
    LEFT_EYE,
    LEFT_HIP,
    LEFT_SHOULDER,
    NOSE,
    RIGHT_EAR,
    RIGHT_EYE,
    RIGHT_HIP,
    RIGHT_SHOULDER,
)
from t2i_shards.pipeline.scenes import Scene, labels, render
from t2i_shards.pipeline.scenes.canvas import FAR
from t2i_shards.pipeline.scenes.ground_truth import HIDDEN, borders
from t2i_shards.pipeline.scenes.layout import draw_layout
from t2i_shards.pipeline.scenes.render import draw_canvas
from t2i_shards.pipeline.scenes.rng import Rng
from tests.pipeline.scenes.conftest import SEED

DIGESTS = {
    (0, 0): "b074be291fcec1ac",
    (0, 1): "515e3d7566bb8433",
    (7, 123456789): "745d3a8e9f535cad",
    (2**63, 2**40): "e1e265f6bacdc01f",
}


def digest(scene: Scene) -> str:
    parts = (scene.picture, scene.depth, scene.labels, scene.people.keypoints, scene.edges)
    whole = hashlib.sha256(scene.caption.encode())
    for part in parts:
        whole.update(np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()[:16]


@pytest.mark.parametrize("key", DIGESTS)
def test_a_scene_is_the_same_bits_on_every_machine(key: tuple[int, int]) -> None:
    assert digest(render(*key)) == DIGESTS[key]


def test_another_process_with_other_instructions_draws_the_same_bits() -> None:
    code = (
        "import json; from tests.pipeline.scenes.test_scenes import digest, render;"
        "print(json.dumps([digest(render(11, i)) for i in range(6)]))"
    )
    plain = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL", "OPENCV_CPU_DISABLE": "AVX2,AVX512-SKX"}
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        cwd=root,
        env=os.environ | plain,
        check=True,
    )
    assert json.loads(ran.stdout) == [digest(render(SEED, i)) for i in range(6)]


def test_order_and_history_do_not_matter(scenes: list[Scene]) -> None:
    assert digest(render(SEED, 5)) == digest(scenes[5])


def test_every_index_and_seed_is_another_scene(scenes: list[Scene]) -> None:
    assert len({digest(s) for s in scenes}) == len(scenes)
    assert digest(render(SEED + 1, 0)) != digest(scenes[0])


@pytest.mark.parametrize("size", [64, 128, 192, 512])
def test_any_size_shows_the_same_layout(size: int) -> None:
    small, large = render(SEED, 3, size), render(SEED, 3, 256)
    assert small.picture.shape == (size, size, 3)
    assert small.depth.shape == small.labels.shape == small.edges.shape == (size, size)
    assert (small.people.height, small.people.width) == (size, size)
    at = (np.arange(64) + 0.5) / 64
    a, b = ((at * s).astype(int) for s in (size, 256))
    assert (small.labels[np.ix_(a, a)] == large.labels[np.ix_(b, b)]).mean() > 0.96


def test_types_and_ranges(scenes: list[Scene]) -> None:
    for s in scenes:
        assert s.picture.dtype == s.labels.dtype == s.edges.dtype == np.uint8
        assert s.depth.dtype == s.people.keypoints.dtype == np.float32
        assert set(np.unique(s.edges)) <= {0, 255}
        assert s.labels.max() <= 181
        assert s.depth.min() > 0.3
        assert s.depth.max() <= FAR
        assert s.picture.std() > 8


def test_clear_keypoints_lie_on_a_person(scenes: list[Scene]) -> None:
    points = [(s, p) for s in scenes for person in s.people.keypoints for p in person]
    assert {float(p[2]) for _, p in points} == {0.0, HIDDEN, 1.0}
    for s, (x, y, score) in points:
        if score == 1:
            assert s.labels[int(y), int(x)] == labels.PERSON
        elif score == 0:
            assert x == y == 0
        else:
            assert 0 <= x < 256
            assert 0 <= y < 256


def test_left_is_the_persons_own() -> None:
    seen = {"front": 0, "back": 0}
    for index in range(80):
        for person in draw_layout(SEED, index, 64).people:
            sides = [
                (person.joints[a, 0] / person.joints[a, 2] - person.joints[b, 0] / person.joints[b, 2])
                for a, b in ((LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_HIP, RIGHT_HIP))
            ]
            front = person.thing.frame.front[2]
            if front < -0.9:
                assert min(sides) > 0
                seen["front"] += 1
            elif front > 0.9:
                assert max(sides) < 0
                seen["back"] += 1
            if person.gaze[2] < -0.9:
                assert person.joints[LEFT_EAR, 0] > person.joints[RIGHT_EAR, 0]
    assert min(seen.values()) >= 3


def test_faces_show_from_the_front_and_not_from_behind(scenes: list[Scene]) -> None:
    front = back = 0
    for index, s in enumerate(scenes):
        people = draw_layout(SEED, index, 256).people
        if len(people) != 1 or len(s.people.keypoints) != 1:
            continue
        points, person = s.people.keypoints[0], people[0]
        if person.gaze[2] > 0.9:
            assert points[[NOSE, LEFT_EYE, RIGHT_EYE], 2].max() == 0
            back += 1
        elif person.gaze[2] < -0.93 and points[[NOSE, LEFT_EYE, RIGHT_EYE], 2].min() == 1:
            assert points[LEFT_EYE, 0] > points[NOSE, 0] > points[RIGHT_EYE, 0]
            front += 1
    assert min(front, back) >= 3


def test_standing_people_are_upright() -> None:
    for index in range(80):
        for person in draw_layout(SEED, index, 64).people:
            if person.pose.said.startswith("standing"):
                height = person.joints[:, 1]
                assert height[NOSE] > height[LEFT_SHOULDER] > height[LEFT_HIP] > height[LEFT_ANKLE] > 0


def test_depth_agrees_with_the_labels(scenes: list[Scene]) -> None:
    for s in scenes:
        sky = s.labels == labels.SKY
        assert (s.depth[sky] == FAR).all()
        assert (s.depth[~sky] < FAR).all()
        person = s.labels == labels.PERSON
        if person.any():
            assert s.depth[person].max() < 12


def test_what_is_nearer_hides_what_is_behind_in_whatever_order() -> None:
    for index in range(20):
        layout = draw_layout(SEED, index, 64)
        with np.errstate(all="ignore"):
            depth = draw_canvas(layout, Rng(SEED, index, 1)).depth
            turned = dataclasses.replace(layout, things=layout.things[::-1])
            assert (draw_canvas(turned, Rng(SEED, index, 1)).depth == depth).all()


def test_ground_recedes_upwards(scenes: list[Scene]) -> None:
    for s in scenes:
        ground = np.isin(s.labels, (labels.GRASS, labels.SAND, labels.SNOW, labels.DIRT))
        both = ground[:-1] & ground[1:]
        assert (s.depth[:-1][both] > s.depth[1:][both]).all()


def test_edges_are_where_labels_change(scenes: list[Scene]) -> None:
    for s in scenes:
        change = np.zeros(s.labels.shape, bool)
        change[:, :-1] |= s.labels[:, :-1] != s.labels[:, 1:]
        change[:-1] |= s.labels[:-1] != s.labels[1:]
        assert (s.edges[change] == 255).all()
        assert 0.002 < (s.edges > 0).mean() < 0.2


def test_patterns_draw_no_edge() -> None:
    layout = draw_layout(SEED, 2, 128)
    with np.errstate(all="ignore"):
        canvas = draw_canvas(layout, Rng(SEED, 2, 1))
    before = borders(canvas)
    canvas.tint[:] = np.indices(canvas.tint.shape).sum(axis=0) % 2
    assert (borders(canvas) == before).all()


def test_objects_cast_shadows(scenes: list[Scene]) -> None:
    """On floors without a pattern, away from every outline, some of the floor is much darker than most of it."""
    shadowed = []
    for s in scenes:
        inside = cv2.dilate(s.edges, np.ones((5, 5), np.uint8)) == 0
        floor = s.picture[(s.labels == labels.FLOOR_OTHER) & inside].astype(int).sum(axis=1)
        if floor.size > 5000:
            shadowed.append((floor < 0.85 * np.median(floor)).mean() > 0.003)
    assert np.mean(shadowed) > 0.7


def test_labels_are_those_of_the_published_list(assets: Path) -> None:
    lines = (assets / "labels" / "cocostuff_labels.txt").read_text().splitlines()
    names = {int(k): v.strip() for k, v in (line.split(":") for line in lines if line.strip())}
    renamed = {name: f"{name.lower()}-other" for name in ("CEILING", "SKY", "SOLID", "WINDOW")}
    for name, value in vars(labels).items():
        if name.isupper():
            wanted = renamed.get(name, name.lower().replace("_", " "))
            assert names[value + 1].replace("-", " ") == wanted.replace("-", " "), name
