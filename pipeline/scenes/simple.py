"""The simple world: one ground under one sky, one to three objects, and at most one person, who is large.

For networks that are small or are trained for a short time. All of it may occur in the full world too.
"""

from dataclasses import replace

from t2i_shards.pipeline.scenes.catalogue import ANYWHERE, Builder
from t2i_shards.pipeline.scenes.figure import Person, draw_looks, make_person
from t2i_shards.pipeline.scenes.furniture import chair
from t2i_shards.pipeline.scenes.geometry import Camera, Frame
from t2i_shards.pipeline.scenes.layout import FreeGround, Layout, add_things, draw_camera, facing
from t2i_shards.pipeline.scenes.outdoor import bush, car, tent
from t2i_shards.pipeline.scenes.poses import POSES, vary_pose
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.setting import Setting, draw_setting

OFFERS: dict[Builder, float] = {**ANYWHERE, bush: 1.5, car: 1.5, tent: 1.2, chair: 1.2}
UPRIGHT = tuple(pose for pose in POSES if pose.said not in ("crouching", "kneeling", "bending forward"))
PERSON_FAR = 4.3
"""Metres, times the focal length: up to there somebody upright fills a third of the height or more."""
THINGS_FAR = 6.0


def draw_simple_layout(seed: int, index: int, size: int) -> Layout:
    """Does not depend on `size` but for the camera's."""
    rng = Rng(seed, index)
    setting = _draw_setting(rng)
    camera = draw_camera(rng, size)
    free_ground = FreeGround(rng, camera, setting)
    person = _add_person(rng, free_ground, camera) if rng.chance(0.55) else None
    people = () if person is None else (person,)
    count = rng.weigh({1: 3.0, 2: 4.0} if people else {1: 2.0, 2: 4.0, 3: 4.0})
    things = add_things(rng, free_ground, setting, count, 2.4, THINGS_FAR)
    return Layout(setting, camera, people, tuple(things), {})


def _draw_setting(rng: Rng) -> Setting:
    """A place under a sky by day, without what lies or rises behind its ground."""
    while True:
        setting = draw_setting(rng)
        by_day = setting.sky is not None and setting.sky.said != "at night"
        if by_day and not any("by a road" in said for said in setting.on):
            return replace(setting, band=None, ridge=None, by="", offers=OFFERS)


def _add_person(rng: Rng, free_ground: FreeGround, camera: Camera) -> Person | None:
    pose = vary_pose(rng, rng.pick(UPRIGHT))
    looks = draw_looks(rng, pose)
    size, turn, yaw = rng.between(0.9, 1.08), rng.around(0, 22), facing(rng)
    at = free_ground.find(0.42, max(2.3, free_ground.whole(1.8 * size)), PERSON_FAR * camera.focal)
    if at is None:
        return None
    person = make_person(Frame((at[0], 0.0, at[1]), yaw), pose, looks, size, turn)
    free_ground.take(person.thing)
    return person
