"""What is in a scene: a setting, a camera, people and things, drawn from (seed, index) before any pixel."""

import math
from dataclasses import dataclass

from t2i_shards.pipeline.scenes import catalogue, labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.catalogue import Builder
from t2i_shards.pipeline.scenes.figure import Person, draw_looks, make_person, seat_height
from t2i_shards.pipeline.scenes.geometry import Camera, Frame
from t2i_shards.pipeline.scenes.materials import COLOURS, Material, vary
from t2i_shards.pipeline.scenes.poses import POSES, SEATED, vary_pose
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.setting import Setting, draw_setting
from t2i_shards.pipeline.scenes.solids import cube

_OVERLAP = 0.35  # at most this share of the narrower of two things may hide behind the other
_SEAT_OF = {"bench": (0.47, 0.05), "chair": (0.48, 0.03), "couch": (0.46, 0.1)}


@dataclass(frozen=True)
class Layout:
    """`seats`: which object a person sits on, number in `people` -> number in `things`."""

    setting: Setting
    camera: Camera
    people: tuple[Person, ...]
    things: tuple[Thing, ...]
    seats: dict[int, int]

    @property
    def all(self) -> tuple[Thing, ...]:
        """The people, then the objects."""
        return tuple(p.thing for p in self.people) + self.things


class FreeGround:
    """Finds free ground: nothing touches, nothing leaves the picture, nothing hides much of another."""

    def __init__(self, rng: Rng, camera: Camera, setting: Setting) -> None:
        self._rng, self._setting = rng, setting
        self._half = 0.5 / camera.focal
        self._camera = camera
        self._taken: list[tuple[float, float, float, float]] = []  # x, z, radius, height

    def find(self, radius: float, near: float, far: float) -> tuple[float, float] | None:
        room = self._setting.room
        if room is not None:
            far = min(far, room.back - radius - 0.1)
        for _ in range(25):
            if near + radius > far:
                return None
            # Even over the picture's height, where a uniform depth would crowd the horizon.
            z = 1 / self._rng.between(1 / far, 1 / (near + radius))
            reach = max(self._half * z - 0.75 * radius, 0.05)
            if room is not None:
                reach = min(reach, room.side - radius - 0.1)
            x = self._rng.around(0, reach)
            if reach > 0 and self._free(x, z, radius):
                return x, z
        return None

    def whole(self, height: float) -> float:
        """The depth beyond which an object of that height is seen up to its top."""
        rise = (self._half * self._camera.up[1] + self._camera.forward[1]) / (
            self._half * self._camera.up[2] + self._camera.forward[2]
        )
        return (height - self._camera.eye) / rise if rise > 0.05 else 2.5 * height

    def _free(self, x: float, z: float, radius: float) -> bool:
        low, high = (x - radius) / z, (x + radius) / z
        for ax, az, ar, _ in self._taken:
            if math.sqrt((x - ax) * (x - ax) + (z - az) * (z - az)) < radius + ar + 0.12:
                return False
            shared = min(high, (ax + ar) / az) - max(low, (ax - ar) / az)
            if shared > _OVERLAP * min(high - low, 2 * ar / az):
                return False
        return True

    def take(self, thing: Thing) -> None:
        x, _, z = thing.origin
        self._taken.append((x, z, thing.radius, thing.height))


def facing(rng: Rng) -> float:
    """Yaw in degrees: most people face the camera, some are seen from the side or from behind."""
    return rng.weigh({0: 5.0, 90: 1.3, -90: 1.3, 180: 1.6}) + rng.around(0, 38)


def _seat(rng: Rng, frame: Frame, setting: Setting, height: float) -> tuple[Thing, float, float]:
    """Something to sit on, the height of its seat and how far to its front one sits."""
    offers: dict[Builder, float] = {b: w for b, w in setting.offers.items() if b in catalogue.SEATS}
    offers[cube] = 2.5
    builder = rng.weigh(offers)
    if builder is not cube:
        thing = builder(rng, frame)
        return (thing, *_SEAT_OF[thing.noun])
    name = rng.pick(list(COLOURS))
    model = Model(frame)
    model.box((0, 0, 0), (height, height, height), Material(vary(rng, COLOURS[name])))
    block = Thing("cube", labels.SOLID, frame, tuple(model.parts), 0.71 * height, height, name)
    return block, height, height / 2 - 0.14


def _add_person(rng: Rng, free_ground: FreeGround, setting: Setting) -> tuple[Person, Thing | None] | None:
    seated = rng.chance(0.2)
    pose = vary_pose(rng, rng.pick(SEATED if seated else POSES))
    looks = draw_looks(rng, pose)
    size, turn, yaw = rng.between(0.9, 1.08), rng.around(0, 22), facing(rng)
    at = free_ground.find(0.8 if seated else 0.42, 2.3, 6.5)
    if at is None:
        return None
    frame = Frame((at[0], 0.0, at[1]), yaw)
    if not seated:
        return make_person(frame, pose, looks, size, turn), None
    thing, height, ahead = _seat(rng, frame, setting, seat_height(pose, size))
    return make_person(frame, pose, looks, size, turn, (height, ahead)), thing


def _window(rng: Rng, setting: Setting) -> Thing | None:
    """On the back wall of a room, by day."""
    room = setting.room
    if room is None or rng.chance(0.6):
        return None
    w, h = rng.between(0.9, 1.6), rng.between(0.9, 1.3)
    frame = Frame((rng.around(0, room.side * 0.6), 0.0, room.back), 0.0)
    model = Model(frame)
    model.box((0, 1.0, 0.03), (w + 0.16, h + 0.16, 0.06), Material((0.93, 0.93, 0.92)))
    for x in (-w / 4, w / 4):
        for y in (1.08, 1.08 + h / 2):
            pane = Material((0.62, 0.80, 0.95), gloss=0.4)
            model.box((x, y + 0.02, 0.05), (w / 2 - 0.05, h / 2 - 0.04, 0.06), pane, ink=f"{x}{y}")
    return Thing("window", labels.WINDOW, frame, tuple(model.parts), w / 2, h + 1)


def add_things(
    rng: Rng, free_ground: FreeGround, setting: Setting, count: int, near: float, far: float
) -> list[Thing]:
    found: list[Thing] = []
    for _ in range(count):
        builder = rng.weigh(dict(setting.offers))
        # Built once at the origin to know its size, then again, from the same random numbers, where it belongs.
        key = int(rng.unit() * 2**31), int(rng.unit() * 2**31)
        yaw = _thing_yaw(rng, builder)
        trial = builder(Rng(*key), Frame((0.0, 0.0, 0.0), yaw))
        at = free_ground.find(
            trial.radius, max(near, free_ground.whole(trial.height) * (0.75 if trial.height > 2.6 else 1.0)), far
        )
        # No second thing of one name and colour, so that a caption is never ambiguous.
        if at is None or any((t.noun, t.colour) == (trial.noun, trial.colour) for t in found):
            continue
        thing = builder(Rng(*key), Frame((at[0], 0.0, at[1]), yaw))
        free_ground.take(thing)
        found.append(thing)
    return found


def _thing_yaw(rng: Rng, builder: Builder) -> float:
    if builder in catalogue.FRONTED:
        return rng.around(0, 28)
    return rng.around(0, 180)


def draw_camera(rng: Rng, size: int) -> Camera:
    return Camera(rng.between(1.1, 1.9), rng.between(4, 11), rng.between(0.92, 1.25), size)


def draw_layout(seed: int, index: int, size: int) -> Layout:
    """Does not depend on `size` but for the camera's."""
    rng = Rng(seed, index)
    setting = draw_setting(rng)
    camera = draw_camera(rng, size)
    free_ground = FreeGround(rng, camera, setting)
    people: list[Person] = []
    objects: list[Thing] = []
    seats: dict[int, int] = {}
    for _ in range(rng.weigh({0: 33, 1: 40, 2: 21, 3: 6})):
        added = _add_person(rng, free_ground, setting)
        if added is None:
            continue
        person, seat = added
        free_ground.take(person.thing)
        if seat is not None:
            free_ground.take(seat)
            seats[len(people)] = len(objects)
            objects.append(seat)
        people.append(person)
    count = rng.weigh({1: 2, 2: 3, 3: 3, 4: 2}) if people else rng.weigh({2: 2, 3: 3, 4: 3, 5: 2})
    objects += add_things(rng, free_ground, setting, count, 2.4, 7.5)
    if setting.sky is not None and rng.chance(0.5):
        objects += add_things(rng, free_ground, setting, 2, 9.0, 24.0)
    window = _window(rng, setting)
    if window is not None:
        objects.append(window)
    return Layout(setting, camera, tuple(people), tuple(objects), seats)
