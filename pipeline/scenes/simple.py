"""The simple world: one ground under one sky, one to three things, and at most one person, who is large.

For networks that are small or have little time to learn. Everything in it may occur in the full world too.
"""

from dataclasses import replace

from pipeline.scenes.catalogue import ANYWHERE, Builder
from pipeline.scenes.figure import Person, draw_looks, make_person
from pipeline.scenes.furniture import chair
from pipeline.scenes.geometry import Camera, Frame
from pipeline.scenes.layout import Layout, World, add_things, draw_camera, facing
from pipeline.scenes.nature import bush
from pipeline.scenes.poses import POSES, vary_pose
from pipeline.scenes.rng import Dice
from pipeline.scenes.setting import Place, draw_place
from pipeline.scenes.town import car, tent

OFFERS: dict[Builder, float] = {**ANYWHERE, bush: 1.5, car: 1.5, tent: 1.2, chair: 1.2}
UPRIGHT = tuple(pose for pose in POSES if pose.said not in ("crouching", "kneeling", "bending forward"))
PERSON_FAR = 4.3
"""Metres, times the focal length: up to there somebody upright fills a third of the height or more."""
THINGS_FAR = 6.0


def draw_simple_world(seed: int, index: int, size: int) -> World:
    """Does not depend on `size` but for the camera's."""
    dice = Dice(seed, index)
    place = _draw_place(dice)
    camera = draw_camera(dice, size)
    layout = Layout(dice, camera, place)
    person = _add_person(dice, layout, camera) if dice.chance(0.55) else None
    people = () if person is None else (person,)
    count = dice.weigh({1: 3.0, 2: 4.0} if people else {1: 2.0, 2: 4.0, 3: 4.0})
    things = add_things(dice, layout, place, count, 2.4, THINGS_FAR)
    return World(place, camera, people, tuple(things), {})


def _draw_place(dice: Dice) -> Place:
    """A place under a sky by day, without what lies or rises behind its ground."""
    while True:
        place = draw_place(dice)
        by_day = place.sky is not None and place.sky.said != "at night"
        if by_day and not any("by a road" in said for said in place.on):
            return replace(place, band=None, ridge=None, by="", offers=OFFERS)


def _add_person(dice: Dice, layout: Layout, camera: Camera) -> Person | None:
    pose = vary_pose(dice, dice.pick(UPRIGHT))
    looks = draw_looks(dice, pose)
    size, turn, yaw = dice.between(0.9, 1.08), dice.around(0, 22), facing(dice)
    at = layout.find(0.42, max(2.3, layout.whole(1.8 * size)), PERSON_FAR * camera.focal)
    if at is None:
        return None
    person = make_person(Frame((at[0], 0.0, at[1]), yaw), pose, looks, size, turn)
    layout.take(person.thing)
    return person
