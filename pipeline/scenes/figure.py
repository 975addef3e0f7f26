"""An articulated person: a skeleton posed by `poses.Pose`, dressed with primitives, with COCO's 17 keypoints.

Lengths are metres for a person 1.74 m tall and scale with the height.
"""

from dataclasses import dataclass

import numpy as np

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.geometry import Array, Frame, Vector, add, cosine, cross, scale, sine, sub, unit
from t2i_shards.pipeline.scenes.materials import COLOURS, Material, shade, vary
from t2i_shards.pipeline.scenes.poses import Bone, Pose
from t2i_shards.pipeline.scenes.rng import Rng

SKINS: tuple[Vector, ...] = (
    (0.96, 0.79, 0.67),
    (0.90, 0.70, 0.55),
    (0.78, 0.57, 0.41),
    (0.60, 0.40, 0.27),
    (0.44, 0.29, 0.20),
    (0.33, 0.21, 0.15),
)
HAIRS: dict[str, Vector] = {
    "black": (0.07, 0.06, 0.06),
    "brown": (0.30, 0.18, 0.10),
    "blond": (0.85, 0.68, 0.34),
    "red": (0.66, 0.25, 0.09),
    "grey": (0.62, 0.62, 0.63),
}
SEAT_TO_HIP = 0.11


@dataclass(frozen=True)
class Looks:
    """What a person wears; captions use these names."""

    skin: Material
    hair: str
    hair_material: Material
    long_hair: bool
    top: str
    top_material: Material
    sleeves: str  # long, short
    bottom: str
    bottom_material: Material
    legs: str  # trousers, shorts, skirt, dress
    shoes: Material
    hat: str
    hat_material: Material


@dataclass(frozen=True)
class Person:
    """`joints` (17, 3) in the world, COCO's order; `gaze` is the way the face looks."""

    thing: Thing
    pose: Pose
    looks: Looks
    joints: Array
    gaze: Vector


def draw_looks(rng: Rng, pose: Pose) -> Looks:
    names = list(COLOURS)
    top, bottom = rng.pick(names), rng.pick(names)
    legs_down = all(abs(swing) < 32 and spread < 15 for swing, spread in pose.thighs)
    upright = legs_down and pose.lean < 30 and min(swing for swing, _ in pose.shins) > -50
    legs = rng.weigh({"trousers": 5, "shorts": 2.5, "skirt": 1.5 * upright, "dress": 1.5 * upright})
    colour = vary(rng, COLOURS[top])
    material = Material(colour)
    if rng.chance(0.2):
        other = COLOURS["white"] if top not in ("white", "yellow", "pink") else COLOURS["blue"]
        material = Material(colour, other, "striped", rng.between(7, 10))
        top = f"striped {top}"
    hair = rng.pick(list(HAIRS))
    hat = rng.pick(names) if rng.chance(0.22) else ""
    return Looks(
        skin=Material(vary(rng, rng.pick(SKINS), 0.03), gloss=0.08),
        hair=hair,
        hair_material=Material(HAIRS[hair], gloss=0.1),
        long_hair=rng.chance(0.4),
        top=top,
        top_material=material,
        sleeves=rng.pick(("long", "short")),
        bottom=top if legs == "dress" else bottom,
        bottom_material=material if legs == "dress" else Material(vary(rng, COLOURS[bottom])),
        legs=legs,
        shoes=Material(vary(rng, COLOURS[rng.pick(("black", "white", "brown", "red", "grey"))])),
        hat=hat,
        hat_material=Material(COLOURS[hat or "black"]),
    )


def _bone(angles: Bone, side: int) -> Vector:
    swing, spread = angles
    return side * sine(spread), -cosine(spread) * cosine(swing), cosine(spread) * sine(swing)


@dataclass(frozen=True)
class _Skeleton:
    """Joints in the person's own frame; pairs are (left, right)."""

    hip: Vector
    spine: Vector
    neck: Vector
    head: Vector
    shoulders: tuple[Vector, Vector]
    elbows: tuple[Vector, Vector]
    wrists: tuple[Vector, Vector]
    fingers: tuple[Vector, Vector]
    hips: tuple[Vector, Vector]
    knees: tuple[Vector, Vector]
    ankles: tuple[Vector, Vector]
    toes: tuple[Vector, Vector]


def _reach(starts: tuple[Vector, Vector], angles: tuple[Bone, Bone], long: float) -> tuple[Vector, Vector]:
    left, right = (add(p, scale(_bone(a, s), long)) for p, a, s in zip(starts, angles, (1, -1), strict=True))
    return left, right


def _skeleton(pose: Pose, size: float, hip: Vector) -> _Skeleton:
    spine = (0.0, cosine(pose.lean), sine(pose.lean))
    nod = (0.0, cosine(pose.lean * 0.6), sine(pose.lean * 0.6))
    neck = add(hip, scale(spine, 0.51 * size))
    chest = add(hip, scale(spine, 0.465 * size))
    shoulders = (add(chest, (0.175 * size, 0, 0)), add(chest, (-0.175 * size, 0, 0)))
    elbows = _reach(shoulders, pose.upper_arms, 0.28 * size)
    wrists = _reach(elbows, pose.forearms, 0.25 * size)
    hips = (add(hip, (0.095 * size, 0, 0)), add(hip, (-0.095 * size, 0, 0)))
    knees = _reach(hips, pose.thighs, 0.43 * size)
    ankles = _reach(knees, pose.shins, 0.41 * size)
    flat: tuple[Bone, Bone] = tuple((a + 84, b + 4) for a, b in pose.shins)  # type: ignore[assignment]
    return _Skeleton(
        hip,
        spine,
        neck,
        add(neck, scale(nod, 0.165 * size)),
        shoulders,
        elbows,
        wrists,
        _reach(wrists, pose.forearms, 0.07 * size),
        hips,
        knees,
        ankles,
        _reach(ankles, flat, 0.16 * size),
    )


def _standing(pose: Pose, size: float) -> _Skeleton:
    """The skeleton whose lowest foot or knee touches the ground, or is `lift` above it."""
    at = _skeleton(pose, size, (0.0, 0.0, 0.0))
    feet = [a[1] - 0.085 * size for a in at.ankles] + [t[1] - 0.04 * size for t in at.toes]
    low = min(feet + [k[1] - 0.06 * size for k in at.knees])
    return _skeleton(pose, size, (0.0, pose.lift - low, 0.0))


def seat_height(pose: Pose, size: float) -> float:
    """Of the seat on which a person of that size has the feet on the ground."""
    return _standing(pose, size).hip[1] - SEAT_TO_HIP * size


def make_person(
    frame: Frame, pose: Pose, looks: Looks, size: float, turn: float = 0.0, seat: tuple[float, float] | None = None
) -> Person:
    """`size` is the height over 1.74 m, `turn` the head's in degrees; `seat` its height and its place in z."""
    at = _standing(pose, size)
    if seat is not None:
        at = _skeleton(pose, size, (0.0, seat[0] + SEAT_TO_HIP * size, seat[1]))
    model = Model(frame)
    _dress_legs(model, at, looks, size)
    _dress_body(model, at, looks, size)
    _dress_arms(model, at, looks, size)
    face = _head(model, at, looks, size, turn)
    pairs = (at.shoulders, at.elbows, at.wrists, at.hips, at.knees, at.ankles)
    joints = np.array([frame.at(p) for p in (*face, *(p for pair in pairs for p in pair))])
    height = float(max(joints[:, 1].max() + 0.13 * size, 0.5))
    thing = Thing("person", labels.PERSON, frame, tuple(model.parts), 0.38, height)
    gaze = frame.turn((sine(turn), 0.0, cosine(turn)))
    return Person(thing, pose, looks, joints, gaze)


def _dress_legs(model: Model, at: _Skeleton, looks: Looks, size: float) -> None:
    cloth = looks.bottom_material
    covered = looks.legs == "trousers"
    for side in (0, 1):
        hip, knee, ankle, toe = at.hips[side], at.knees[side], at.ankles[side], at.toes[side]
        ink = f"leg{side}"
        if looks.legs in ("trousers", "shorts"):
            model.limb(hip, knee, 0.092 * size, 0.062 * size, cloth if covered else looks.skin, ink)
        else:
            model.limb(hip, knee, 0.080 * size, 0.058 * size, looks.skin, ink)
        if looks.legs == "shorts":
            middle = add(hip, scale(sub(knee, hip), 0.62))
            model.limb(hip, middle, 0.098 * size, 0.085 * size, cloth, f"short{side}")
        model.limb(knee, ankle, 0.060 * size, 0.043 * size, cloth if covered else looks.skin, ink)
        heel = add(ankle, (0, -0.035 * size, 0))
        model.limb(heel, toe, 0.050 * size, 0.036 * size, looks.shoes, f"shoe{side}")
    if looks.legs in ("skirt", "dress"):
        low = 0.5 * (at.knees[0][1] + at.knees[1][1]) - 0.06 * size
        ahead = 0.5 * (at.knees[0][2] + at.knees[1][2])
        waist = add(at.hip, (0, 0.1 * size, 0))
        fall = sub((0.0, low, 0.5 * (at.hip[2] + ahead)), waist)
        sides = (0.125 * size, 0, 0), (0, 0, 0.10 * size)
        model.cone(waist, fall, *sides, cloth, 2.0, "top" if looks.legs == "dress" else "skirt")


def _dress_body(model: Model, at: _Skeleton, looks: Looks, size: float) -> None:
    cloth, spine = looks.top_material, at.spine
    across = (1.0, 0.0, 0.0)
    depth = unit(cross(across, spine))

    def along(share: float) -> Vector:
        return add(at.hip, scale(spine, share * size))

    belly = looks.bottom_material if looks.legs != "dress" else cloth
    hips = (scale(across, 0.155 * size), scale(spine, 0.115 * size), scale(depth, 0.112 * size))
    model.egg(along(0.0), hips, belly, "top" if looks.legs == "dress" else "hips")
    sides = (scale(across, 0.138 * size), scale(depth, 0.098 * size))
    model.cone(along(0.06), scale(spine, 0.27 * size), *sides, cloth, 1.2, "top")
    chest = (scale(across, 0.176 * size), scale(spine, 0.137 * size), scale(depth, 0.125 * size))
    model.egg(along(0.345), chest, cloth, "top")
    model.limb(at.shoulders[0], at.shoulders[1], 0.059 * size, 0.059 * size, cloth, "top")
    model.limb(along(0.46), at.head, 0.052 * size, 0.05 * size, looks.skin, "neck")


def _dress_arms(model: Model, at: _Skeleton, looks: Looks, size: float) -> None:
    covered = looks.sleeves == "long"
    for side in (0, 1):
        shoulder, elbow, wrist = at.shoulders[side], at.elbows[side], at.wrists[side]
        cloth = looks.top_material if covered else looks.skin
        ink = f"arm{side}"
        model.limb(shoulder, elbow, 0.054 * size, 0.043 * size, cloth, ink)
        model.limb(elbow, wrist, 0.043 * size, 0.033 * size, cloth, ink)
        if not covered:
            middle = add(shoulder, scale(sub(elbow, shoulder), 0.6))
            model.limb(shoulder, middle, 0.065 * size, 0.060 * size, looks.top_material, f"sleeve{side}")
        model.limb(wrist, at.fingers[side], 0.036 * size, 0.038 * size, looks.skin, f"hand{side}")


def _head(model: Model, at: _Skeleton, looks: Looks, size: float, turn: float) -> list[Vector]:
    """The head, and the keypoints nose, eyes and ears, left first."""
    up = unit(sub(at.head, at.neck))
    ahead = unit(sub((sine(turn), 0.0, cosine(turn)), scale(up, up[2] * cosine(turn))))
    left = (ahead[2] * up[1] - ahead[1] * up[2], ahead[0] * up[2] - ahead[2] * up[0], -ahead[0] * up[1])

    def on(x: float, y: float, z: float) -> Vector:
        offset = add(scale(left, x * size), add(scale(up, y * size), scale(ahead, z * size)))
        return add(at.head, offset)

    def round_(x: float, y: float, z: float) -> tuple[Vector, Vector, Vector]:
        return scale(left, x * size), scale(up, y * size), scale(ahead, z * size)

    hair = looks.hair_material
    lips = Material(shade((0.72, 0.28, 0.26), 0.5 + 0.6 * looks.skin.colour[0]))
    model.egg(at.head, round_(0.092, 0.122, 0.108), looks.skin, "face")
    model.egg(on(0, 0.024, -0.022), round_(0.102, 0.116, 0.106), hair, "hair")
    if looks.long_hair:
        model.limb(on(0, 0.0, -0.045), on(0, -0.19, -0.075), 0.092 * size, 0.075 * size, hair, "hair")
    for x in (0.037, -0.037):
        model.egg(on(x, 0.012, 0.092), round_(0.020, 0.013, 0.012), Material((0.96, 0.96, 0.95)), f"eye{x}")
        model.egg(on(x, 0.012, 0.100), round_(0.011, 0.011, 0.009), Material((0.08, 0.06, 0.05)), f"eye{x}")
    for x in (0.096, -0.096):
        model.egg(on(x, -0.008, 0.004), round_(0.014, 0.030, 0.022), looks.skin, f"ear{x}")
    model.egg(on(0, -0.020, 0.112), round_(0.015, 0.020, 0.020), Material(shade(looks.skin.colour, 0.9)), "nose")
    model.egg(on(0, -0.062, 0.092), round_(0.030, 0.009, 0.012), lips, "mouth")
    if looks.hat:
        felt = looks.hat_material
        axis, side, other = (scale(v, size) for v in (up, left, ahead))
        model.cone(
            on(0, 0.062, -0.012), scale(axis, 0.095), scale(side, 0.108), scale(other, 0.116), felt, 0.86, "hat"
        )
        model.cone(on(0, 0.056, 0.0), scale(axis, 0.014), scale(side, 0.16), scale(other, 0.17), felt, 1.0, "brim")
    return [
        on(0, -0.020, 0.125),
        on(0.037, 0.012, 0.1),
        on(-0.037, 0.012, 0.1),
        on(0.104, -0.008, 0.0),
        on(-0.104, -0.008, 0.0),
    ]
