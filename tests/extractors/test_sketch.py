import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from t2i_shards.extractors.base import compile_networks
from t2i_shards.extractors.batch import Batch
from t2i_shards.extractors.networks import pidinet_cpu
from t2i_shards.extractors.networks.pidinet import load_pidinet
from t2i_shards.extractors.sketch import TABLE5, Sketch
from tests.extractors.published_networks import checkpoint_of, published


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
    monkeypatch.setattr(
        "t2i_shards.extractors.sketch.TABLE5", replace(TABLE5, bytes=path.stat().st_size, sha256=digest)
    )
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
    (condition_map,) = random_sketch(picture[None])
    rgb = picture / np.float32(255)
    assert np.abs(condition_map - levels(random_sketch, rgb)).max() <= 0.51
    assert len(np.unique(condition_map)) > 100
    for other in (rgb[:, :, ::-1].copy(), rgb * 255, rgb * 2 - 1):
        assert np.abs(condition_map - levels(random_sketch, other)).max() > 10


def test_random_weights_on_padded_sides(random_sketch: Sketch) -> None:
    picture = astronaut(7, 513)
    (condition_map,) = random_sketch(picture[None])
    assert condition_map.shape == (7, 513)
    padded = np.pad(picture, ((0, 1), (0, 7), (0, 0)), mode="edge") / np.float32(255)
    assert np.abs(condition_map - levels(random_sketch, padded)[:7, :513]).max() <= 0.51


def test_random_weights_follow_a_shift(random_sketch: Sketch) -> None:
    first, second = (
        condition_map.astype(int)
        for condition_map in random_sketch(np.stack([astronaut(448, 64), astronaut(448, 64, 64)]))
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


def cells(edges: np.ndarray) -> np.ndarray:
    """Edge pixels in each 32x32 cell: bool (256, 256) -> int (8, 8)."""
    return np.asarray(edges.reshape(8, 32, 8, 32).sum(axis=(1, 3)))


def test_golden_edges_of_six_photographs(sketch: Sketch, assets: Path) -> None:
    """sketch_edges.json holds the edge pixels (map > 127) of every 32x32 cell of each photograph's middle.

    Another CPU may round a pixel near the threshold otherwise: a cell may differ by 3, all of them together by a
    pixel in a thousand. Of the mistakes below, none stays under 12 in every photograph that it concerns.
    """
    golden = json.loads(Path(__file__).with_name("sketch_edges.json").read_text())
    assert len(golden) == 6
    for name, expected in golden.items():
        bgr = cv2.imread(str(assets / "images" / name))
        assert bgr is not None
        top, left = (side - 256 >> 1 for side in bgr.shape[:2])
        picture = np.ascontiguousarray(bgr[top : top + 256, left : left + 256, ::-1])
        (condition_map,) = sketch(picture[None])
        differences = np.abs(cells(condition_map > 127) - expected)
        assert differences.max() <= 3, name
        assert differences.sum() <= np.sum(expected) / 1000, name
        assert np.abs(cells(condition_map > 125) - expected).max() >= 12
        assert np.abs(cells(np.roll(condition_map, 1, axis=1) > 127) - expected).max() >= 12
        if (picture[..., 0] != picture[..., 2]).any():
            (swapped,) = sketch(picture[None, :, :, ::-1].copy())
            assert np.abs(cells(swapped > 127) - expected).max() >= 12


def test_stores_the_soft_edge_rounded(sketch: Sketch, weights: Path, skier: np.ndarray) -> None:
    (condition_map,) = sketch(skier[None])
    edge = network(weights, skier / np.float32(255))
    assert condition_map.dtype == np.uint8
    assert np.abs(condition_map - edge * 255).max() <= 0.51
    assert len(np.unique(condition_map)) > 200


def test_sides_off_the_stride_are_padded_not_resized(sketch: Sketch, skier: np.ndarray) -> None:
    """Far from the cut, the map equals that of the larger picture: no pixel has moved."""
    whole, part = sketch(skier[None])[0], sketch(skier[None, :251, :313])[0]
    assert part.shape == (251, 313)
    difference = np.abs(whole[:251, :313].astype(int) - part)
    assert difference[:120, :160].max() <= 1
    padded = np.pad(skier[:251, :313], ((0, 5), (0, 7), (0, 0)), mode="edge")
    assert np.array_equal(part, sketch(padded[None])[0][:251, :313])


def test_does_not_depend_on_the_threads_of_the_process(
    sketch: Sketch, skier: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, maps, seen = torch.get_num_threads(), [], []
    find_edges = pidinet_cpu.find_edges

    def noted(*asked: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return find_edges(*asked)

    monkeypatch.setattr(pidinet_cpu, "find_edges", noted)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps.append(sketch(skier[None])[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*maps)
    assert seen == [1, 1]


def test_uploaded_pictures_are_shared_and_left_as_they_are(sketch: Sketch, skier: np.ndarray) -> None:
    batch = Batch(skier[None, :64, :64])
    tensor = batch.on(torch.device("cpu"))
    before = tensor.clone()
    (condition_map,) = sketch(batch)
    assert np.array_equal(condition_map, sketch(batch.pictures)[0])
    assert batch.on(torch.device("cpu")) is tensor
    assert torch.equal(tensor, before)


@pytest.mark.soak
def test_compiled_it_is_the_same_to_a_grey_level(weights: Path, skier: np.ndarray) -> None:
    plain, compiled = Sketch("default", weights), Sketch("default", weights)
    for extractor in (plain, compiled):
        extractor.load("cpu")
    assert compile_networks(compiled) == ["network"]
    maps = [extractor(skier[None, :64, :128])[0].astype(int) for extractor in (plain, compiled)]
    assert np.abs(maps[0] - maps[1]).max() <= 1


def test_the_recipe_names_the_weights_and_their_licence(weights: Path) -> None:
    recipe = Sketch("default", weights).recipe()
    assert recipe["weights"]["file"] == "table5_pidinet.pth"
    assert recipe["weights"]["sha256"].startswith("80860ac2")
    assert recipe["weights"]["licence"].startswith("research only")
