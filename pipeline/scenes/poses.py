"""Poses of a person as angles of the bones, in degrees.

A bone's (swing, spread): swing turns it forward from hanging down, spread outward from hanging down.
Both are absolute, so a forearm does not depend on its upper arm.
"""

from dataclasses import dataclass, replace

from t2i_shards.pipeline.scenes.rng import Rng

Bone = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """`said` is what a caption calls it; arms and legs are (left, right); `lift` is metres above the ground."""

    said: str
    upper_arms: tuple[Bone, Bone] = ((0, 10), (0, 10))
    forearms: tuple[Bone, Bone] = ((12, 5), (12, 5))
    thighs: tuple[Bone, Bone] = ((0, 4), (0, 4))
    shins: tuple[Bone, Bone] = ((-2, 2), (-2, 2))
    lean: float = 0.0
    lift: float = 0.0
    seat: bool = False


POSES = (
    Pose("standing"),
    Pose("standing", forearms=((25, 0), (8, 3)), thighs=((3, 9), (-3, 9)), shins=((0, 7), (-8, 7))),
    Pose("standing with hands on hips", ((-18, 42), (-18, 42)), ((22, -52), (22, -52)), ((0, 9), (0, 9))),
    Pose("waving", ((0, 10), (0, 100)), ((12, 5), (0, 162))),
    Pose("waving", ((0, 10), (20, 75)), ((12, 5), (10, 170))),
    Pose("standing with both arms raised", ((0, 150), (0, 150)), ((0, 170), (0, 170)), ((0, 8), (0, 8))),
    Pose("standing with outstretched arms", ((0, 88), (0, 88)), ((0, 90), (0, 90)), ((0, 7), (0, 7))),
    Pose("pointing to one side", ((0, 90), (0, 10)), ((0, 92), (12, 5))),
    Pose(
        "walking",
        ((-26, 7), (28, 7)),
        ((0, 3), (50, 0)),
        ((28, 2), (-18, 2)),
        ((12, 1), (-42, 1)),
        5,
    ),
    Pose(
        "running",
        ((-50, 12), (45, 12)),
        ((35, 5), (120, -5)),
        ((62, 3), (-22, 3)),
        ((-12, 2), (-95, 2)),
        16,
        0.06,
    ),
    Pose(
        "jumping",
        ((20, 135), (20, 135)),
        ((10, 160), (10, 160)),
        ((25, 22), (20, 22)),
        ((-45, 12), (-50, 12)),
        5,
        0.32,
    ),
    Pose("jumping", ((0, 120), (0, 120)), ((0, 135), (0, 135)), ((0, 32), (0, 32)), ((-5, 36), (-5, 36)), 0, 0.28),
    Pose("crouching", ((50, 10), (50, 10)), ((75, 0), (75, 0)), ((100, 14), (100, 14)), ((-32, 8), (-32, 8)), 28),
    Pose("kneeling", ((12, 10), (12, 10)), ((45, -10), (45, -10)), ((4, 6), (4, 6)), ((-87, 4), (-87, 4)), 4),
    Pose("bending forward", ((60, 8), (60, 8)), ((40, 0), (40, 0)), ((-8, 5), (-8, 5)), ((-4, 4), (-4, 4)), 62),
    Pose("dancing", ((30, 120), (-10, 60)), ((40, 165), (25, 120)), ((10, 6), (45, 28)), ((0, 4), (-40, 8)), -4),
    Pose("kicking", ((-30, 45), (35, 40)), ((-10, 40), (60, 30)), ((0, 4), (72, 6)), ((-6, 2), (60, 6)), -14),
    Pose(
        "balancing on one leg", ((0, 85), (0, 85)), ((0, 100), (0, 100)), ((0, 2), (75, 25)), ((0, 1), (-30, -20))
    ),
)
SEATED = (
    Pose("sitting", ((22, 9), (22, 9)), ((70, -8), (70, -8)), ((87, 8), (87, 8)), ((2, 3), (2, 3)), -4, seat=True),
    Pose(
        "sitting", ((-8, 14), (24, 8)), ((10, 8), (75, -8)), ((86, 14), (88, 6)), ((10, 6), (-8, 2)), -6, seat=True
    ),
    Pose(
        "sitting and waving",
        ((22, 9), (0, 95)),
        ((70, -8), (0, 160)),
        ((87, 8), (87, 8)),
        ((2, 3), (2, 3)),
        seat=True,
    ),
)


def vary_pose(rng: Rng, pose: Pose) -> Pose:
    """The pose with a few degrees of freedom, and as often of the other hand."""

    def jitter(pair: tuple[Bone, Bone], by: float) -> tuple[Bone, Bone]:
        left, right = ((a + rng.around(0, by), b + rng.around(0, by * 0.6)) for a, b in pair)
        return left, right

    varied = replace(
        pose,
        upper_arms=jitter(pose.upper_arms, 8),
        forearms=jitter(pose.forearms, 9),
        thighs=jitter(pose.thighs, 3),
        shins=jitter(pose.shins, 3),
        lean=pose.lean + rng.around(0, 3),
    )
    if rng.chance(0.5):
        return varied
    return replace(
        varied,
        upper_arms=varied.upper_arms[::-1],
        forearms=varied.forearms[::-1],
        thighs=varied.thighs[::-1],
        shins=varied.shins[::-1],
    )
