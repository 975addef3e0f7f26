"""People as COCO-17 keypoints, and the drawing of them that the published keypose adapter was trained on.

The drawing is `imshow_keypoints` of TencentARC/T2I-Adapter (ldm/modules/extra_condition/utils.py) with
radius 2 and thickness 2, in RGB. MMPose 1.x's palette has red and blue swapped and is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(5)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = range(5, 11)
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = range(11, 17)

MIRRORED = (0, *(number for left in range(1, 17, 2) for number in (left + 1, left)))
"""Number of the keypoint that takes each one's place in the mirrored picture."""

ORANGE, GREEN, BLUE = 1, 2, 3
PEOPLE_PALETTE = np.array([(0, 0, 0), (255, 153, 51), (0, 255, 0), (0, 128, 255)], np.uint8)
"""uint8 (4, 3) RGB: black, orange (head and trunk), green (left), blue (right)."""
PEOPLE_PALETTE.flags.writeable = False
KEYPOINT_COLORS = (ORANGE,) * 5 + (GREEN, BLUE) * 6
LINKS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
LINK_COLORS = (GREEN, GREEN, BLUE, BLUE, *[ORANGE] * 4, GREEN, BLUE, GREEN, BLUE, *[ORANGE] * 7)

MAX_DRAWN = 2
SCORE_THRESHOLD = 0.1
RADIUS = 2
THICKNESS = 2


@dataclass(frozen=True, eq=False)
class People:
    """The people in one picture of `height` x `width` pixels; no person is `keypoints` of shape (0, 17, 3).

    keypoints: float32 (P, 17, 3): x and y in pixels (0..width, 0..height), score 0..1, 0 for a point that is
    not known. keypose.json holds these very numbers: rounded ones would move a coordinate across a pixel's edge,
    or a score across the threshold, and be drawn differently.
    """

    height: int
    width: int
    keypoints: np.ndarray

    def __post_init__(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[1:] != (17, 3):
            raise ValueError(f"keypoints must be (P, 17, 3), got {self.keypoints.shape}")
        if not np.isfinite(self.keypoints).all():  # JSON has no such numbers
            raise ValueError("keypoints must be finite numbers, some are infinite or NaN")
        object.__setattr__(self, "keypoints", self.keypoints.astype(np.float32) + np.float32(0))  # no -0.0

    def __len__(self) -> int:
        return len(self.keypoints)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, People)
            and (self.height, self.width) == (other.height, other.width)
            and np.array_equal(self.keypoints, other.keypoints)
        )

    __hash__ = None  # type: ignore[assignment]

    def mirrored(self) -> People:
        """The people of the mirrored picture, whose left and right limbs have changed names."""
        points = self.keypoints[:, MIRRORED].copy()
        points[..., 0] = self.width - 1 - points[..., 0]
        return People(self.height, self.width, points)

    def within(self, window: tuple[slice, slice]) -> People:
        """Those who have a drawn keypoint in these rows and columns, in their order; their points unchanged."""
        rows, columns = window
        x, y = self.keypoints[..., 0], self.keypoints[..., 1]
        inside = (columns.start <= x) & (x < columns.stop) & (rows.start <= y) & (y < rows.stop)
        return People(self.height, self.width, self.keypoints[(inside & is_drawn(self.keypoints)).any(axis=1)])


def is_drawn(keypoints: np.ndarray) -> np.ndarray:
    """bool (...): which of the keypoints (..., 3) have a score high enough to be drawn."""
    return np.asarray(keypoints[..., 2] >= np.float32(SCORE_THRESHOLD))


def draw_people(people: People) -> np.ndarray:
    """The drawing, uint8 (H, W, 3) RGB on black; see `draw_people_indices`."""
    return np.asarray(PEOPLE_PALETTE[draw_people_indices(people)])


def draw_people_indices(people: People) -> np.ndarray:
    """The drawing as uint8 (H, W) indices into PEOPLE_PALETTE: the first two people, circles then links.

    A point is drawn if its score is >= 0.1, also when it lies outside (its circle may reach in); a link only
    if both ends are >= 0.1 and strictly inside the picture. Coordinates are truncated, not rounded.
    """
    canvas = np.zeros((people.height, people.width), np.uint8)
    for person in people.keypoints[:MAX_DRAWN]:
        points = [(int(x), int(y)) for x, y, _ in person]
        visible = is_drawn(person)
        for point, seen, color in zip(points, visible, KEYPOINT_COLORS, strict=True):
            if seen:
                cv2.circle(canvas, point, RADIUS, color, -1)
        linkable = [
            bool(seen) and 0 < x < people.width and 0 < y < people.height
            for (x, y), seen in zip(points, visible, strict=True)
        ]
        for (start, end), color in zip(LINKS, LINK_COLORS, strict=True):
            if linkable[start] and linkable[end]:
                cv2.line(canvas, points[start], points[end], color, thickness=THICKNESS)
    return canvas
