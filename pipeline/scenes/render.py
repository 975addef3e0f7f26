"""A scene: the picture, its caption and its exact ground truth."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from extractors.maps.people import People
from pipeline.scenes.backdrop import draw_backdrop
from pipeline.scenes.canvas import Canvas
from pipeline.scenes.caption import describe
from pipeline.scenes.ground_truth import borders, find_people, lines, look
from pipeline.scenes.layout import World, draw_world
from pipeline.scenes.rng import Dice
from pipeline.scenes.setting import Surface
from pipeline.scenes.shading import shade_picture, soften
from pipeline.scenes.simple import draw_simple_world

WorldName = Literal["full", "simple"]
WORLDS = {"full": draw_world, "simple": draw_simple_world}


@dataclass(frozen=True)
class Scene:
    """picture (S, S, 3) uint8 RGB; depth (S, S) float32 metres along the optical axis, 500 in the sky;
    labels (S, S) uint8 COCO-Stuff pixel values 0..181; people with COCO-17 keypoints, see `find_people`;
    edges (S, S) uint8, 255 on the outlines that a human would sketch and 0 elsewhere."""

    picture: npt.NDArray[np.uint8]
    caption: str
    depth: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    people: People
    edges: npt.NDArray[np.uint8]


def draw_canvas(world: World, dice: Dice) -> Canvas:
    canvas = Canvas(world.camera)
    draw_backdrop(canvas, world.place, dice)
    for owner, thing in enumerate(world.all):
        for part in thing.parts:
            key = canvas.surface(Surface(part.material, thing.label), owner, 1000 + 100 * owner + part.ink)
            canvas.draw(part, key, thing.frame)
    return canvas


def render(seed: int, index: int, size: int = 256, world_name: WorldName = "full") -> Scene:
    """Picture `index` of seed `seed` of a world, `size` pixels square: the same bits on any machine.

    The layout does not depend on `size`; the caption does where a thing is just large enough to be named.
    """
    world = WORLDS[world_name](seed, index, size)
    backdrop, words = Dice(seed, index, 1), Dice(seed, index, 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        canvas = draw_canvas(world, backdrop)
    labels = np.array([s.label for s in canvas.surfaces], np.uint8)[canvas.surface_at]
    border = borders(canvas)
    picture = soften(shade_picture(canvas, world, backdrop), border)
    sight = look(canvas, len(world.all))
    people = find_people(world, canvas, sight)
    caption = describe(world, canvas, sight, words)
    return Scene(picture, caption, canvas.depth, labels, people, lines(border))
