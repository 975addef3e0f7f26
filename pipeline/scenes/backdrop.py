"""Draws a setting without its things: ground, walls, what is on the horizon, and the sky."""

import numpy as np

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.canvas import FAR, Canvas
from t2i_shards.pipeline.scenes.materials import Material, Single, noise, noise_tile, tint
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.setting import Room, Setting, Sky, Surface

_NO_MATERIAL = Material((0.0, 0.0, 0.0))
_FADED = ("rough", "rippled", "tiles", "planks")  # patterns finer than a pixel far away
_RIDGE = {labels.HILL: (150.0, 0.16), labels.MOUNTAIN: (320.0, 0.26), labels.SKYSCRAPER: (70.0, 0.34)}


def draw_backdrop(canvas: Canvas, setting: Setting, rng: Rng) -> None:
    sky = canvas.surface(Surface(_NO_MATERIAL, labels.SKY), -1, 0)
    canvas.key[:] = sky
    if setting.room is not None:
        _draw_room(canvas, setting.ground, setting.room)
        return
    if setting.ridge is not None:
        _draw_ridge(canvas, setting.ridge, rng)
    _draw_ground(canvas, setting)


def _points(canvas: Canvas) -> tuple[Single, Single, Single]:
    depth, rays = canvas.depth, canvas.rays
    x = rays.x.astype(np.float32) * depth
    y = rays.y.astype(np.float32) * depth + np.float32(canvas.camera.eye)
    return x, y, rays.z.astype(np.float32) * depth


def _faded(tone: Single, depth: Single, pattern: str) -> Single:
    if pattern not in _FADED:
        return tone
    nearness = depth * np.float32(1 / 14)
    faded: Single = np.float32(0.35) + (tone - np.float32(0.35)) / (1 + nearness * nearness)
    return faded


def _draw_ground(canvas: Canvas, setting: Setting) -> None:
    down = -canvas.rays.y[:, 0]
    with np.errstate(divide="ignore"):
        t = np.where(down > 0, canvas.camera.eye / down, np.inf)
    rows = np.flatnonzero(t < canvas.depth.max(axis=1))
    if not rows.size:
        return
    below = slice(int(rows[0]), None)
    z = canvas.rays.z[below, 0] * t[below]
    canvas.depth[below] = t[below, None].astype(np.float32)
    canvas.normal[1, below] = 1
    canvas.normal[0, below] = canvas.normal[2, below] = 0
    grounds = [(setting.ground, 0.0, np.inf)] + ([setting.band] if setting.band is not None else [])
    for ground, start, end in grounds:
        covered = np.flatnonzero((z >= start) & (z < end))
        if not covered.size:
            continue
        part = slice(int(rows[0] + covered[0]), int(rows[0] + covered[-1] + 1))
        canvas.key[part] = canvas.surface(ground, -1, len(canvas.surfaces))
        depth = canvas.depth[part]
        across = canvas.rays.x.astype(np.float32) * depth
        away = z[covered, None].astype(np.float32) + np.zeros_like(across)
        if ground.material.pattern:
            tone = tint(ground.material, across, across, away)
            canvas.tint[part] = _faded(tone, depth, ground.material.pattern)
        else:
            canvas.tint[part] = 0


def _draw_ridge(canvas: Canvas, ridge: Surface, rng: Rng) -> None:
    """A silhouette that rises from the horizon; `x` is the tangent of the angle to the side."""
    distance, height = _RIDGE[ridge.label]
    x = canvas.rays.x[0]
    start = rng.between(0, 100)
    tile = noise_tile().reshape(128, 128)[int(rng.between(0, 128))]
    if ridge.label == labels.SKYSCRAPER:
        top = tile[np.floor((x + start) * 17).astype(np.int64) % 128] * 0.9 + 0.1
    else:
        at = (x + start) * (22 if ridge.label == labels.HILL else 40)
        low = np.floor(at).astype(np.int64)
        top = tile[low % 128] * (1 - (at - low)) + tile[(low + 1) % 128] * (at - low)
    rise = canvas.rays.y / canvas.rays.z
    there = (rise < top[None, :] * height) & (rise > -canvas.camera.eye / distance)
    canvas.depth[there] = distance
    canvas.normal[2][there] = -1
    canvas.normal[1][there] = 0.5
    canvas.key[there] = canvas.surface(ridge, -1, len(canvas.surfaces))
    px, py, _ = _points(canvas)
    tone = tint(ridge.material, px, py, np.zeros_like(px))
    if ridge.label == labels.SKYSCRAPER:
        # Each building has a tone of its own between its neighbours' and its windows'.
        tone = np.maximum(tone, (top[None, :] * 23 % 1 * 0.6).astype(np.float32))
    canvas.tint[there] = tone[there]


def _draw_room(canvas: Canvas, floor: Surface, room: Room) -> None:
    """A box seen from inside."""
    rays, eye = canvas.rays, canvas.camera.eye
    with np.errstate(divide="ignore"):
        flat = np.where(rays.y < 0, -eye / rays.y, (room.high - eye) / rays.y)
        back = np.where(rays.z > 0, room.back / rays.z, np.inf)
        side = room.side / np.abs(rays.x)
    flat, side = flat + np.zeros_like(rays.square), side + np.zeros_like(rays.square)
    t = np.minimum(np.minimum(flat, back), side)
    canvas.depth[:] = t
    px, py, pz = _points(canvas)
    level, aside = t == flat, t == side
    ceiling = Surface(Material((1.0, 0.99, 0.97)), labels.CEILING)
    wall = room.wall
    right = rays.x > 0
    regions = (
        (level & (rays.y < 0), floor, (1, 1.0), (px, py, pz)),
        (level & (rays.y >= 0), ceiling, (1, -1.0), (px, py, pz)),
        (~level & ~aside, wall, (2, -1.0), (px, px, py)),
        (aside & ~level & right, wall, (0, -1.0), (pz, pz, py)),
        (aside & ~level & ~right, wall, (0, 1.0), (pz, pz, py)),
    )
    for there, surface, (axis, sign), at in regions:
        rows = np.flatnonzero(there.any(axis=1))
        if not rows.size:
            continue
        part = slice(int(rows[0]), int(rows[-1] + 1))
        where = there[part]
        np.copyto(canvas.key[part], canvas.surface(surface, -1, len(canvas.surfaces)), where=where)
        np.copyto(canvas.normal[axis][part], sign, where=where)
        if surface.material.pattern:
            tone = tint(surface.material, *(a[part] for a in at))
            tone = _faded(tone, canvas.depth[part], surface.material.pattern)
            np.copyto(canvas.tint[part], tone, where=where)


def sky_colours(canvas: Canvas, sky: Sky, rng: Rng) -> tuple[slice, Single]:
    """The rows that hold sky, and their colours (3, h, S) float32, 0..1."""
    rows = np.flatnonzero((canvas.depth == FAR).any(axis=1))
    if not rows.size:
        return slice(0, 0), np.zeros((3, 0, canvas.camera.size), np.float32)
    part = slice(0, int(rows[-1] + 1))
    rise = np.maximum((canvas.rays.y[part] / canvas.rays.z[part]).astype(np.float32), np.float32(0.02))
    high = np.minimum(rise * np.float32(2.2), np.float32(1))
    blend = high * (2 - high)
    colours = np.stack(
        [np.float32(h) + np.float32(z - h) * blend for h, z in zip(sky.horizon, sky.zenith, strict=True)]
    )
    colours = colours + np.zeros((1, 1, canvas.camera.size), np.float32)
    if sky.cover:
        away = np.float32(9) / (rise + np.float32(0.25))
        start = np.float32(rng.between(0, 128))
        u, v = canvas.rays.x.astype(np.float32) * away * np.float32(1.6) + start, away * np.float32(2) + start
        u = u + np.zeros_like(v)
        v = v + np.zeros_like(u)
        cloud = (
            noise(u, v) * np.float32(0.55)
            + noise(u * 3, v * 3) * np.float32(0.3)
            + noise(u * 9, v * 9) * np.float32(0.15)
        )
        amount = np.clip((cloud - np.float32(0.72 - 0.5 * sky.cover)) * 4, 0, 1)
        for channel, white in zip(colours, sky.clouds, strict=True):
            channel += (np.float32(white) - channel) * amount
    return part, colours
