"""Adding a condition takes one file, one line and one test: here is all three, for surface normals of a toy kind.

The file is the class below (in extractors/ it would be normals.py), the line is in the fixture (in
extractors/registry.py, with its format in maps/formats.py), the test is the first one below. The contract
suite runs on a registered condition by itself; here some of it is called by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from extractors.base import Resources, check_size
from extractors.batch import Batch, as_batch
from extractors.maps import png
from extractors.maps.formats import FORMATS, Cells
from extractors.registry import EXTRACTORS, make_extractor
from pipeline.dataset.dataset import IMAGES
from pipeline.image.stored import decode_rgb
from pipeline.stages import plan_extract
from tests.contract import test_extractors as suite
from tests.contract.conftest import Registered, crop
from tests.faults.toys import Pictures, make_images, problems


@dataclass(frozen=True)
class Normal(Cells):
    """Map: uint8 (H, W, 3), the normal's x, y, z from -1..1 to 0..255, stored as RGB PNG."""

    member: str = "normals.png"

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_rgb(map)}

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(map.shape[:2], height, width)
        return map


class Normals:
    """Extractor of a surface whose height is the picture's brightness."""

    condition = "normals"
    format = Normal()
    resources = Resources(cpus=1.0)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        return {"extractor": "normals", "version": 1, "variant": self.variant, "weights": None, "parameters": {}}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        return [self._normals(picture) for picture in as_batch(pictures).pictures]

    def _normals(self, picture: np.ndarray) -> np.ndarray:
        height = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        right, down = cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1)
        normal = np.stack([-right, -down, np.full_like(right, 64)], axis=2)
        unit = normal / np.linalg.norm(normal, axis=2, keepdims=True)
        return np.asarray(np.rint(unit * 127.5 + 127.5), np.uint8)


@pytest.fixture(autouse=True)
def _line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "normals", {"default": f"{__name__}:Normals"})
    monkeypatch.setitem(FORMATS, "normals", Normal())


def test_a_plane_points_at_the_viewer_and_a_slope_away_from_what_is_higher() -> None:
    flat, slope = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8, 3), np.uint8)
    slope += np.arange(0, 80, 10).astype(np.uint8)[None, :, None]
    up, aside = make_extractor("normals")(np.stack([flat, slope]))
    assert (up == (128, 128, 255)).all()
    assert (aside[:, 1:-1, 0] < 64).all()
    assert (aside[:, 1:-1, 1] == 128).all()


def test_the_contract_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    extractor = make_extractor("normals")
    registered = Registered("normals", "default", None, False, extractor)
    monkeypatch.setattr(suite, "check_documented", lambda *args: None)
    suite.test_says_what_it_is(registered)
    suite.test_eight_at_once_equal_eight_alone(extractor)
    for name in suite.SIZES:
        suite.test_any_size_twice_the_same_and_stored_exactly(registered, name)
    for down, right in ((64, 0), (0, 64)):
        suite.test_registered_pixel_by_pixel(registered, down, right)
    suite.test_no_network_when_called(extractor, monkeypatch)
    monkeypatch.undo()


def test_shard_in_and_shard_out_beside_another_condition(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(5), 2)
    stage = plan_extract(dataset, ["normals", "color"])
    stage.setup()
    for shard in dataset.shards:
        assert stage(shard).errors == ()
    assert problems(dataset.store.root) == []
    for shard in dataset.shards:
        for picture, sample in zip(dataset.load(IMAGES, shard), dataset.load("normals", shard), strict=True):
            expected = make_extractor("normals")(decode_rgb(picture.members["jpg"])[None])[0]
            assert sample.key == picture.key
            assert np.array_equal(Normal().decode({"normals.png": bytes(sample.members["normals.png"])}), expected)


def test_the_pictures_are_not_turned() -> None:
    """Mirrored left and right, x changes its sign and y does not."""
    picture = crop(64, 64, 90, 180)
    map, mirrored = make_extractor("normals")(np.stack([picture, picture[:, ::-1]]))
    back = mirrored[:, ::-1].astype(int)
    assert np.abs(255 - back[..., 0] - map[..., 0]).max() <= 1
    assert np.array_equal(back[..., 1:], map[..., 1:])
