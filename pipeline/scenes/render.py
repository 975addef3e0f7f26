"""A scene: the picture, its caption and its exact ground truth."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.scenes.backdrop import draw_backdrop
from t2i_shards.pipeline.scenes.canvas import Canvas
from t2i_shards.pipeline.scenes.caption import describe
from t2i_shards.pipeline.scenes.ground_truth import borders, find_people, find_visible, lines
from t2i_shards.pipeline.scenes.layout import Layout, draw_layout
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.setting import Surface
from t2i_shards.pipeline.scenes.shading import shade_picture, soften
from t2i_shards.pipeline.scenes.simple import draw_simple_layout

LayoutName = Literal["full", "simple"]
LAYOUTS = {"full": draw_layout, "simple": draw_simple_layout}


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


def draw_canvas(layout: Layout, rng: Rng) -> Canvas:
    canvas = Canvas(layout.camera)
    draw_backdrop(canvas, layout.setting, rng)
    for owner, thing in enumerate(layout.all):
        for part in thing.parts:
            key = canvas.surface(Surface(part.material, thing.label), owner, 1000 + 100 * owner + part.ink)
            canvas.draw(part, key, thing.frame)
    return canvas


def render(seed: int, index: int, size: int = 256, layout_name: LayoutName = "full") -> Scene:
    """Picture `index` of seed `seed` of a world, `size` pixels square: the same bits on any machine.

    The layout does not depend on `size`; the caption does where an object is just large enough to be named.
    """
    layout = LAYOUTS[layout_name](seed, index, size)
    backdrop, words = Rng(seed, index, 1), Rng(seed, index, 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        canvas = draw_canvas(layout, backdrop)
    labels = np.array([s.label for s in canvas.surfaces], np.uint8)[canvas.surface_at]
    border = borders(canvas)
    picture = soften(shade_picture(canvas, layout, backdrop), border)
    visibility = find_visible(canvas, len(layout.all))
    people = find_people(layout, canvas, visibility)
    caption = describe(layout, canvas, visibility, words)
    return Scene(picture, caption, canvas.depth, labels, people, lines(border))
