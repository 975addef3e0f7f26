"""The keypose drawing, pixel by pixel: what the published adapter saw, written out a second time by hand."""

import cv2
import numpy as np
import pytest

from t2i_shards.extractors.maps.people import People, draw_people

ORANGE, GREEN, BLUE = (255, 153, 51), (0, 255, 0), (0, 128, 255)
POINTS = [
    (100, 40), (108, 32), (92, 32), (116, 38), (84, 38),  # nose, eyes, ears
    (130, 80), (70, 80), (150, 120), (50, 120), (160, 160), (40, 160),  # shoulders, elbows, wrists
    (120, 160), (80, 160), (125, 205), (75, 205), (128, 245), (72, 245),  # hips, knees, ankles
]  # fmt: skip
LINKS = [
    (15, 13, GREEN), (13, 11, GREEN), (16, 14, BLUE), (14, 12, BLUE),
    (11, 12, ORANGE), (5, 11, ORANGE), (6, 12, ORANGE), (5, 6, ORANGE),
    (5, 7, GREEN), (6, 8, BLUE), (7, 9, GREEN), (8, 10, BLUE),
    (1, 2, ORANGE), (0, 1, ORANGE), (0, 2, ORANGE), (1, 3, ORANGE), (2, 4, ORANGE), (3, 5, ORANGE), (4, 6, ORANGE),
]  # fmt: skip


def person(dx: float = 0, dy: float = 0) -> np.ndarray:
    return np.array([(x + dx, y + dy, 1.0) for x, y in POINTS], np.float32)


def draw(*people: np.ndarray) -> np.ndarray:
    return draw_people(People(256, 320, np.stack(people)))


def by_hand(canvas: np.ndarray, points: list[tuple[int, int]], without: tuple[int, ...] = ()) -> np.ndarray:
    for i, point in enumerate(points):
        color = ORANGE if i < 5 else (GREEN if i % 2 else BLUE)
        if i not in without:
            cv2.circle(canvas, point, 2, color, -1)
    for a, b, color in LINKS:
        if a not in without and b not in without:
            cv2.line(canvas, points[a], points[b], color, 2)
    return canvas


def black() -> np.ndarray:
    return np.zeros((256, 320, 3), np.uint8)


def test_one_person_pixel_by_pixel() -> None:
    assert np.array_equal(draw(person()), by_hand(black(), POINTS))


def test_colours_of_the_sides_where_nothing_overlaps() -> None:
    control_image = draw(person())
    assert tuple(control_image[245, 128]) == GREEN  # left ankle
    assert tuple(control_image[245, 72]) == BLUE  # right ankle
    assert tuple(control_image[140, 155]) == GREEN  # left forearm
    assert tuple(control_image[140, 45]) == BLUE  # right forearm
    assert tuple(control_image[160, 100]) == ORANGE  # hip to hip
    assert {tuple(c) for c in control_image.reshape(-1, 3)} == {(0, 0, 0), ORANGE, GREEN, BLUE}


def test_links_lie_over_circles_and_later_people_over_earlier() -> None:
    assert tuple(draw(person())[160, 120]) == ORANGE  # left hip: a green circle under the link to the right hip
    assert tuple(draw(person())[80, 130]) == ORANGE  # left shoulder: link 3-5 comes after 5-7
    second = [(x + 30, y) for x, y in POINTS]
    assert np.array_equal(draw(person(), person(30)), by_hand(by_hand(black(), POINTS), second))
    assert not np.array_equal(draw(person(), person(30)), draw(person(30), person()))


def test_a_third_person_is_not_drawn_and_nobody_is_black() -> None:
    two = draw(person(), person(30))
    assert np.array_equal(draw(person(), person(30), person(90)), two)
    assert not draw_people(People(64, 128, np.zeros((0, 17, 3)))).any()


@pytest.mark.parametrize(("score", "drawn"), [(0.0, False), (0.09999, False), (0.1, True)])
def test_a_point_counts_from_a_score_of_a_tenth(score: float, drawn: bool) -> None:
    people = person()
    people[9, 2] = score  # left wrist
    assert np.array_equal(draw(people), by_hand(black(), POINTS, () if drawn else (9,)))


@pytest.mark.parametrize(("x", "y"), [(0, 160), (320, 160), (160, 0), (160, 256), (-1, 160), (0.9, 160)])
def test_a_link_to_a_point_not_inside_is_skipped_while_its_circle_may_reach_in(x: float, y: float) -> None:
    people = person()
    people[9] = (x, y, 1.0)
    expected = by_hand(black(), POINTS, (9,))
    cv2.circle(expected, (int(x), int(y)), 2, GREEN, -1)
    assert np.array_equal(draw(people), expected)


def test_coordinates_are_truncated() -> None:
    assert np.array_equal(draw(person(0.99, 0.99)), draw(person()))


def test_numbers_are_kept_as_they_are() -> None:
    numbers = person()[None] + np.array([0.004, 0.006, -0.0004])
    people = People(256, 320, numbers)
    assert np.array_equal(people.keypoints, numbers.astype(np.float32))
    assert people.keypoints.dtype == np.float32
    assert people != People(256, 321, people.keypoints)


def test_people_within_a_window_are_those_with_a_drawn_point_in_it() -> None:
    faint = person(60)
    faint[:, 2] = 0.05
    people = People(256, 320, np.stack([person(), faint, person(120), person(125)]))
    window = slice(0, 256), slice(220, 320)
    assert people.within(window) == People(256, 320, np.stack([person(120), person(125)]))
    assert len(people.within((slice(0, 10), slice(0, 10)))) == 0


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_cannot_hold_are_refused(number: float) -> None:
    people = person()
    people[3, 1] = number
    with pytest.raises(ValueError, match=r"^keypoints must be finite numbers, some are infinite or NaN$"):
        People(256, 320, people[None])


NOSE = """
    ..o..
    .ooo.
    ooooo
    .ooo.
    ..o..
"""
SHOULDERS = """
    ................
    ................
    ....b......g....
    ...boooooooog...
    ..boooooooooog..
    ...boooooooog...
    ....b......g....
    ................
    ................
"""


@pytest.mark.parametrize(
    ("points", "control_image"),
    [({0: (2, 2)}, NOSE), ({6: (4, 4), 5: (11, 4)}, SHOULDERS)],
    ids=["nose", "shoulders"],
)
def test_circles_and_a_link_dot_by_dot(points: dict[int, tuple[int, int]], control_image: str) -> None:
    """Filled, of radius 2; over them a line of OpenCV's thickness 2, which is three pixels; neither is blurred."""
    rows, letters = control_image.split(), {(0, 0, 0): ".", ORANGE: "o", GREEN: "g", BLUE: "b"}
    keypoints = np.zeros((1, 17, 3), np.float32)
    for number, (x, y) in points.items():
        keypoints[0, number] = (x, y, 1)
    found = draw_people(People(len(rows), len(rows[0]), keypoints))
    assert ["".join(letters[tuple(map(int, c))] for c in row) for row in found] == rows


def test_keypoints_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(P, 17, 3\), got \(17, 3\)"):
        People(64, 64, person())
