import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from extractors.pidinet import load_pidinet
from extractors.sketch import TABLE5, Sketch
from tests.extractors.networks import checkpoint_of, published


@pytest.fixture(scope="module")
def weights(assets: Path) -> Path:
    return assets / "weights"


@pytest.fixture(scope="module")
def sketch(weights: Path) -> Sketch:
    extractor = Sketch("default", weights)
    extractor.load("cpu")
    return extractor


@pytest.fixture(scope="module")
def skier(assets: Path) -> np.ndarray:
    """uint8 (256, 320, 3) RGB: a person in red, which in BGR has other edges."""
    bgr = cv2.imread(str(assets / "images" / "mmpose_coco" / "000000000785.jpg"))
    assert bgr is not None
    return np.ascontiguousarray(bgr[30:286, 200:520, ::-1])


def network(weights: Path, x: np.ndarray) -> np.ndarray:
    """The network alone: float (H, W, 3) -> edge probability, float (H, W)."""
    tensor = torch.from_numpy(x).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        return np.asarray(load_pidinet(weights / "pidinet" / "table5_pidinet.pth")(tensor)[0, 0])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture
def random_sketch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sketch:
    """The extractor with weights drawn at random in place of the published ones; they lie in `tmp_path`."""
    torch.manual_seed(0)
    path, drawn = tmp_path / TABLE5.filename, published(20, 8)
    with torch.no_grad():
        drawn.classifier.weight *= 300  # type: ignore[union-attr, operator]  (else every edge is near 0.5)
    torch.save(checkpoint_of(drawn), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr("extractors.sketch.TABLE5", replace(TABLE5, bytes=path.stat().st_size, sha256=digest))
    extractor = Sketch("default", tmp_path)
    extractor.load("cpu")
    return extractor


def astronaut(height: int, width: int, top: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a part of a picture that scikit-image carries; beyond its side it starts again."""
    return np.asarray(data.astronaut())[top : top + height].take(range(width), axis=1, mode="wrap")


def levels(sketch: Sketch, x: np.ndarray) -> np.ndarray:
    """255 * edge of the network alone, not rounded: float (H, W, 3) -> float (H, W)."""
    with torch.inference_mode():
        return np.asarray(sketch.network(torch.from_numpy(x).permute(2, 0, 1)[None])[0, 0]) * 255


def test_random_weights_see_rgb_over_255_rounded(random_sketch: Sketch) -> None:
    picture = astronaut(96, 128, 90)
    (map,) = random_sketch(picture[None])
    rgb = picture / np.float32(255)
    assert np.abs(map - levels(random_sketch, rgb)).max() <= 0.51
    assert len(np.unique(map)) > 100
    for other in (rgb[:, :, ::-1].copy(), rgb * 255, rgb * 2 - 1):
        assert np.abs(map - levels(random_sketch, other)).max() > 10


def test_random_weights_on_padded_sides(random_sketch: Sketch) -> None:
    picture = astronaut(7, 513)
    (map,) = random_sketch(picture[None])
    assert map.shape == (7, 513)
    padded = np.pad(picture, ((0, 1), (0, 7), (0, 0)), mode="edge") / np.float32(255)
    assert np.abs(map - levels(random_sketch, padded)[:7, :513]).max() <= 0.51


def test_random_weights_follow_a_shift(random_sketch: Sketch) -> None:
    first, second = (
        map.astype(int) for map in random_sketch(np.stack([astronaut(448, 64), astronaut(448, 64, 64)]))
    )
    # Of the rows that both hold, these lie farthest from a border.
    middle = slice(184, 200)
    errors = [np.abs(first[shift:][middle] - second[middle]).max() for shift in (63, 64, 65)]
    assert errors[1] <= 1
    assert min(errors[0], errors[2]) > 10


def test_the_network_sees_rgb_over_255_and_nothing_else(sketch: Sketch, weights: Path, skier: np.ndarray) -> None:
    edges = sketch(skier[None])[0] > 127
    rgb = skier / np.float32(255)
    normalised = (rgb - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    assert iou(edges, network(weights, rgb) >= 0.5) >= 0.999
    assert iou(edges, network(weights, rgb[:, :, ::-1].copy()) >= 0.5) < 0.97
    assert iou(edges, network(weights, normalised) >= 0.5) < 0.9


def test_stores_the_soft_edge_rounded(sketch: Sketch, weights: Path, skier: np.ndarray) -> None:
    (map,) = sketch(skier[None])
    edge = network(weights, skier / np.float32(255))
    assert map.dtype == np.uint8
    assert np.abs(map - edge * 255).max() <= 0.51
    assert len(np.unique(map)) > 200


def test_sides_off_the_stride_are_padded_not_resized(sketch: Sketch, skier: np.ndarray) -> None:
    """Far from the cut, the map equals that of the larger picture: no pixel has moved."""
    whole, part = sketch(skier[None])[0], sketch(skier[None, :251, :313])[0]
    assert part.shape == (251, 313)
    difference = np.abs(whole[:251, :313].astype(int) - part)
    assert difference[:120, :160].max() <= 1
    padded = np.pad(skier[:251, :313], ((0, 5), (0, 7), (0, 0)), mode="edge")
    assert np.array_equal(part, sketch(padded[None])[0][:251, :313])


def test_does_not_depend_on_the_threads_of_the_process(sketch: Sketch, skier: np.ndarray) -> None:
    before, maps, seen = torch.get_num_threads(), [], []
    hook = sketch.network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps.append(sketch(skier[None])[0])
            assert torch.get_num_threads() == threads
    finally:
        hook.remove()
        torch.set_num_threads(before)
    assert np.array_equal(*maps)
    assert seen == [1, 1]


def test_the_recipe_names_the_weights_and_their_licence(weights: Path) -> None:
    recipe = Sketch("default", weights).recipe()
    assert recipe["weights"]["file"] == "table5_pidinet.pth"
    assert recipe["weights"]["sha256"].startswith("80860ac2")
    assert recipe["weights"]["licence"].startswith("research only")
