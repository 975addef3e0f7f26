"""From buffers to a picture: light, shadows on ground and wall, haze, and softened outlines."""

import cv2
import numpy as np
import numpy.typing as npt

from t2i_shards.pipeline.scenes.backdrop import sky_colours
from t2i_shards.pipeline.scenes.canvas import FAR, Canvas
from t2i_shards.pipeline.scenes.geometry import Array, Vector, unit
from t2i_shards.pipeline.scenes.layout import Layout
from t2i_shards.pipeline.scenes.materials import Single
from t2i_shards.pipeline.scenes.rng import Rng

_SUBPIXEL = 4  # bits that cv2 fills polygons with


def _cast(canvas: Canvas, points: list[Array], drop: tuple[int, float, Vector]) -> npt.NDArray[np.uint8]:
    """The shadow mask (S, S) of the convex hulls of points; `drop` is the world axis across the plane that
    they are thrown on, its place on that axis, and the way to the light."""
    axis, level, toward = drop
    size = canvas.camera.size
    mask = np.zeros((size, size), np.uint8)
    x, y, z = (np.concatenate([p[:, i] for p in points]) for i in range(3))
    travel = ((x, y, z)[axis] - level) / toward[axis]
    if axis == 1:
        travel = np.maximum(travel, 0)
    x, y, z = x - toward[0] * travel, y - toward[1] * travel, z - toward[2] * travel
    column, row, depth = canvas.camera.project(x, y, z)
    # Pixel centres are at halves for us and at whole numbers for cv2.
    corners = np.stack([column - 0.5, row - 0.5], axis=1) * 2**_SUBPIXEL
    corners = np.clip(np.floor(corners), -(2**20), 2**20).astype(np.int32)
    start = 0
    for p in points:
        part = slice(start, start + len(p))
        start += len(p)
        if depth[part].min() > 0.3:
            cv2.fillConvexPoly(mask, cv2.convexHull(corners[part]), 255, cv2.LINE_8, _SUBPIXEL)
    width = 2 * (size // 128) + 1
    return np.asarray(cv2.GaussianBlur(mask, (width, width), 0), np.uint8)


def _shadow(canvas: Canvas, layout: Layout) -> Single | None:
    """How much of the direct light is kept from each pixel (S, S), 0..1."""
    toward = layout.setting.light.toward
    points = [
        part.shape.outline(toward)
        for thing in layout.all
        if thing.origin[2] < 30 and thing.noun != "window"
        for part in thing.parts
    ]
    if not points:
        return None
    surroundings = canvas.key < 8 * sum(owner < 0 for owner in canvas.owners)
    ground = surroundings & (canvas.normal[1] == 1)
    shadow = np.where(ground, _cast(canvas, points, (1, 0.0, toward)), np.uint8(0))
    room = layout.setting.room
    if room is not None and toward[2] < -0.05:
        wall = surroundings & (canvas.normal[2] == -1)
        shadow = np.where(wall, _cast(canvas, points, (2, room.back, toward)), shadow)
    return shadow.astype(np.float32) * np.float32(1 / 255)


def _light(canvas: Canvas, layout: Layout) -> tuple[Single, Single, Single]:
    """Per pixel (S, S): the share of the direct light, of the ambient light, and the highlight before gloss."""
    nx, ny, nz = canvas.normal
    long = np.float32(1) / np.maximum(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-6))
    toward = layout.setting.light.toward

    def facing(way: Vector) -> Single:
        x, y, z = (np.float32(v) for v in way)
        along: Single = (nx * x + ny * y + nz * z) * long
        return np.maximum(along, 0, out=along)

    direct = facing(toward)
    shadow = _shadow(canvas, layout)
    if shadow is not None:
        direct *= 1 - np.float32(0.85) * shadow
    # The ambient light comes from above and, as if from a flash, from the camera.
    ambient = np.float32(0.90) + (np.float32(0.10) * ny - np.float32(0.16) * nz) * long
    # Blinn's highlight with one half vector for the whole picture: camera and light are far.
    shine = facing(unit((toward[0], toward[1], toward[2] - 1)))
    for _ in range(5):
        shine *= shine
    return direct, ambient, shine * direct


def shade_picture(canvas: Canvas, layout: Layout, rng: Rng) -> npt.NDArray[np.uint8]:
    """The picture (S, S, 3) uint8 RGB."""
    light, sky = layout.setting.light, layout.setting.sky
    number = canvas.surface_at.astype(np.intp)
    materials = [s.material for s in canvas.surfaces]
    direct, ambient, shine = _light(canvas, layout)
    shine *= np.array([0.77 * m.gloss for m in materials], np.float32).take(number)
    picture = np.empty((*number.shape, 3), np.uint8)
    if sky is not None:
        haze = canvas.depth * np.float32(1 / 260)
        haze /= 1 + haze
        rows, colours = sky_colours(canvas, sky, rng)
        above = canvas.depth[rows] == np.float32(FAR)
    for channel in range(3):
        colour = np.array([m.colour[channel] for m in materials], np.float32)
        other = np.array([(m.other if m.pattern else m.colour)[channel] for m in materials], np.float32)
        plane = (other - colour).take(number) * canvas.tint
        plane += colour.take(number)
        plane *= np.float32(light.ambient[channel]) * ambient + np.float32(light.direct[channel]) * direct
        plane += np.float32(light.direct[channel]) * shine
        if sky is not None:
            plane += (np.float32(sky.horizon[channel]) - plane) * haze
            np.copyto(plane[rows], colours[channel], where=above)
        plane *= np.float32(255)
        plane += np.float32(0.5)
        picture[..., channel] = np.clip(plane, 0, 255, out=plane)
    return picture


def soften(picture: npt.NDArray[np.uint8], border: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Antialiasing after the fact: pixels on both sides of an outline take the mean of their neighbourhood."""
    wide = cv2.dilate(border.view(np.uint8), np.ones((2, 2), np.uint8), anchor=(0, 0)).view(bool)
    smooth = cv2.GaussianBlur(picture, (3, 3), 0)
    return np.where(wide[..., None], smooth, picture).astype(np.uint8)
