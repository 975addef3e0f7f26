"""Keypose with the published networks: their layouts, and MMPose's own inference as the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from t2i_shards.extractors.batch import Batch, find_device, fixed_threads
from t2i_shards.extractors.keypose import HRNET, RTMO, RTMPOSE, VARIANTS, Keypose, Network
from t2i_shards.extractors.maps.people import draw_people
from t2i_shards.extractors.networks.mmpose_models import CROP, SIMCC, build_model
from t2i_shards.extractors.networks.one_stage import OneStage, in_picture, view
from t2i_shards.extractors.networks.openmmlab import import_mmpose
from t2i_shards.extractors.networks.rtmo import rtmo_mini
from t2i_shards.extractors.networks.top_down import sharpness
from t2i_shards.extractors.registry import format_of
from tests.extractors.keypose_references import PUBLISHED, Reference, configs, shipped_config
from tests.extractors.mmpose_networks import settle

TOLERANCE = 1e-4
"""Of scores, and of coordinates as a share of the picture's longer side."""


def plain(config: Any) -> Any:
    """A configuration less what only training reads, in plain types."""
    if isinstance(config, dict):
        skipped = ("init_cfg", "batch_augments", "_scope_", "flip_mode", "shift_heatmap")
        return {key: plain(value) for key, value in config.items() if key not in skipped}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return "BN" if config == "SyncBN" else config


@pytest.mark.parametrize("network", PUBLISHED, ids=lambda network: network.title)
def test_configuration_is_the_published_one(network: Network) -> None:
    theirs = plain(shipped_config(network).model.to_dict())
    ours = plain(network.config())
    assert ours == theirs


@pytest.mark.parametrize("network", PUBLISHED, ids=lambda network: network.title)
def test_weights_are_those_that_mmpose_lists(network: Network) -> None:
    listed = "".join(path.read_text() for path in (configs() / PUBLISHED[network]).parent.glob("*.yml"))
    assert f"Weights: {network.weights.url}\n" in listed
    assert network.weights.url.endswith(f"/{network.weights.filename}")
    assert f"-{network.weights.sha256}_" in network.weights.filename


@pytest.fixture(scope="module")
def photograph(assets: Path) -> np.ndarray:
    """uint8 (425, 640, 3) RGB: a person on skis."""
    bgr = cv2.imread(str(assets / "images" / "mmpose_coco" / "000000000785.jpg"))
    assert bgr is not None
    return np.ascontiguousarray(bgr[..., ::-1])


@pytest.fixture(scope="module")
def references(
    tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray
) -> Iterator[dict[Network, Reference]]:
    folder = tmp_path_factory.mktemp("weights")
    import_mmpose()
    seen = {RTMO: np.ascontiguousarray(view(photograph, 640)["img"][..., ::-1])}
    small = cv2.resize(photograph, CROP)
    made = {network: Reference(network, seen.get(network, small), folder) for network in PUBLISHED}
    with pytest.MonkeyPatch.context() as patch, fixed_threads(1):
        patch.setenv("T2I_SHARDS_CACHE", str(folder / "cache"))
        for variant, networks in list(VARIANTS.items()):
            if not variant.startswith("mini"):
                patch.setitem(VARIANTS, variant, tuple(made[n].network if n else None for n in networks))
        yield made


def load(variant: str, references: dict[Network, Reference]) -> Keypose:
    extractor = Keypose(variant, references[RTMO].folder)
    extractor.load("cpu")
    return extractor


@pytest.fixture(scope="module")
def default(references: dict[Network, Reference]) -> Keypose:
    return load("default", references)


@pytest.fixture(scope="module")
def noisy() -> Any:
    """A small RTMO with random weights."""
    import torch

    torch.manual_seed(5)
    model = build_model(rtmo_mini())
    settle(model, torch.rand(1, 3, 256, 256) * 255)
    return model


def test_one_stage_equals_mmpose(
    default: Keypose, references: dict[Network, Reference], photograph: np.ndarray
) -> None:
    from mmpose.apis import inference_bottomup

    model = references[RTMO].model
    model.test_cfg["score_thr"] = RTMO.threshold
    (theirs,) = inference_bottomup(model, photograph[..., ::-1])
    (ours,) = default.find(Batch(photograph[None]))
    people = theirs.pred_instances
    assert 2 < len(ours.scores) == len(people.scores)
    assert np.abs(ours.scores - people.bbox_scores).max() < TOLERANCE
    assert np.abs(ours.keypoints[..., 2] - people.keypoint_scores).max() < TOLERANCE
    assert np.abs(ours.keypoints[..., :2] - people.keypoints).max() < TOLERANCE * max(photograph.shape)
    assert np.abs(ours.boxes - people.bboxes).max() < TOLERANCE * max(photograph.shape)


@pytest.mark.parametrize(("variant", "network"), [("hrnet", HRNET), ("rtmpose", RTMPOSE)])
def test_top_down_equals_mmpose_on_boxes_of_coco(
    variant: str,
    network: Network,
    references: dict[Network, Reference],
    photograph: np.ndarray,
    assets: Path,
) -> None:
    from mmpose.apis import inference_topdown

    listed = json.loads((assets / "images" / "mmpose_coco" / "test_coco.json").read_text())["annotations"]
    boxes = np.array([a["bbox"] for a in listed if a["image_id"] == 785], np.float32)
    boxes = np.concatenate([boxes, [[-20, 100, 90, 90], [500, 10.5, 300, 40]]]).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    theirs = inference_topdown(references[network].model, photograph[..., ::-1], boxes)
    extractor = load(variant, references)
    ours = extractor.look(Batch(np.stack([photograph, photograph[:, ::-1]])), [boxes, boxes[:0]])
    assert [len(points) for points in ours] == [len(boxes), 0]
    expected = np.concatenate([sample.pred_instances.keypoints for sample in theirs])
    assert np.abs(ours[0][..., :2] - expected).max() < TOLERANCE * max(photograph.shape)
    assert ((ours[0][..., 2] >= 0) & (ours[0][..., 2] <= 1)).all()
    if network is HRNET:
        scores = np.concatenate([sample.pred_instances.keypoint_scores for sample in theirs])
        assert np.abs(ours[0][..., 2] - scores.clip(0, 1)).max() < TOLERANCE


def test_top_down_takes_the_boxes_of_the_first(
    references: dict[Network, Reference],
    noisy: Any,
    photograph: np.ndarray,
) -> None:
    extractor = load("rtmpose", references)
    extractor.find = OneStage(noisy, find_device("cpu"), 0.3, batch=2, threads=1)  # as RTMO-m, but at once
    recipe = extractor.recipe()
    assert recipe["weights"]["file"] == RTMPOSE.weights.filename
    assert recipe["parameters"]["boxes"]["file"] == RTMO.weights.filename
    pictures = np.stack([photograph, photograph[:, ::-1]])
    found = extractor.find(Batch(pictures))
    whole = [people.boxes[(people.boxes[:, 2:] - people.boxes[:, :2]).min(axis=1) >= 1] for people in found]
    expected = extractor.look(Batch(pictures), whole)
    for people, points, alone in zip(
        extractor(pictures), expected, map(extractor, pictures[:, None]), strict=True
    ):
        assert len(people) == len(points) > 0
        assert np.abs(people.keypoints - points).max() <= 0.006  # People rounds to 0.01 px
        assert people == alone[0]


@pytest.mark.parametrize("variant", ["hrnet", "rtmpose"])
def test_a_person_further_on_has_keypoints_as_much_further_on(
    variant: str, references: dict[Network, Reference], photograph: np.ndarray
) -> None:
    """The crop of a box 64 pixels further on is the same crop, so its keypoints are exactly 64 pixels further
    on."""
    canvas = np.zeros((3, 512, 512, 3), np.uint8)
    for picture, (right, down) in zip(canvas, [(0, 0), (64, 0), (0, 64)], strict=True):
        picture[96 + down : 352 + down, 128 + right : 320 + right] = photograph[30:286, 250:442]
    box = np.array([[160, 120, 260, 300]], np.float32)
    aside, below = (np.tile(step, 2).astype(np.float32) for step in ((64, 0), (0, 64)))
    here, *there = load(variant, references).look(Batch(canvas), [box, box + aside, box + below])
    for points, step in zip(there, [(64, 0, 0), (0, 64, 0)], strict=True):
        assert np.abs(points - here - step).max() < 1e-3


def test_keypoints_that_are_no_numbers_are_an_error(noisy: Any) -> None:
    """As broken weights give them: JSON cannot hold them, and without them there would seem to be no people."""
    from copy import deepcopy

    import torch

    broken = deepcopy(noisy)
    with torch.no_grad():
        broken.head.dcc.x_fc.weight.fill_(float("nan"))
    pictures = np.random.default_rng(0).integers(0, 255, (1, 96, 128, 3), np.uint8)
    assert len(people_over(0.0, noisy, pictures)[0])
    with pytest.raises(ValueError, match=r"^the network must give finite numbers, some are infinite or NaN$"):
        people_over(0.0, broken, pictures)


def test_simcc_score_is_the_sharpness_of_the_peak() -> None:
    bins = np.arange(384)
    target = np.exp(-((bins - 100.0) ** 2) / (2 * SIMCC["sigma"][0] ** 2))
    half, blunt = 0.5 * target, np.exp(-((bins - 100.0) ** 2) / (2 * 40.0**2))
    scores = sharpness(np.stack([np.full(384, 7.0), blunt, half, target, target + 500]), SIMCC["sigma"][0])
    assert scores[0] == pytest.approx(0, abs=1e-9)
    assert scores[0] < scores[1] < scores[3]
    assert scores[0] < scores[2] < scores[3]
    assert scores[3:] == pytest.approx([1, 1])


def people_over(threshold: float, model: Any, pictures: np.ndarray) -> list[np.ndarray]:
    find = OneStage(model, find_device("cpu"), threshold, batch=2, threads=1)
    return [found.scores for found in find(Batch(pictures))]


def test_people_under_the_threshold_are_left_out(noisy: Any) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 96, 128, 3), np.uint8)
    everybody = people_over(0.0, noisy, pictures)
    for threshold in (0.05, float(np.median(everybody[0]))):
        some = people_over(threshold, noisy, pictures)
        for few, many in zip(some, everybody, strict=True):
            assert np.array_equal(few, many[many > threshold])
            assert (np.diff(few) <= 0).all()
    assert all(len(nobody) == 0 for nobody in people_over(0.999, noisy, pictures))


def test_no_people_are_a_black_map(noisy: Any) -> None:
    extractor = Keypose("mini", None)
    extractor.find = OneStage(noisy, find_device("cpu"), 0.999, batch=2, threads=1)
    extractor.look = None
    (people,) = extractor(np.full((1, 64, 128, 3), 90, np.uint8))
    assert len(people) == 0
    assert not draw_people(people).any()
    assert json.loads(format_of("keypose").encode(people)["keypose.json"])["persons"] == 0


@pytest.mark.parametrize(("height", "width"), [(7, 513), (640, 427), (512, 512), (64, 128)])
def test_way_into_the_network_and_back(height: int, width: int) -> None:
    """A spot's position in the network's input maps back to its position in the picture."""
    import_mmpose()
    size = max(2, min(height, width) // 16)
    for x, y in [(0, 0), (width - size, height - size), (width // 3, height // 2 - size // 2)]:
        picture = np.zeros((height, width, 3), np.uint8)
        picture[y : y + size, x : x + size] = 255
        place = view(picture, 640)
        seen = (place["img"].min(axis=2) > 128) & (place["img"].max(axis=2) > 200)
        rows, columns = np.nonzero(seen)
        points = np.zeros((1, 17, 3), np.float32)
        points[..., :2] = columns.mean(), rows.mean()
        row = np.concatenate([[[0, 0, 1, 1, 0.9]], points.reshape(1, -1)], axis=1).astype(np.float32)
        found = in_picture(row, place).keypoints[0, 0, :2]
        assert np.abs(found - (x + (size - 1) / 2, y + (size - 1) / 2)).max() <= 0.6


def test_weights_are_looked_up_for_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("t2i_shards.extractors.keypose.resolve", lambda file, folder: asked.append(file.filename))
    monkeypatch.setattr(
        "t2i_shards.extractors.weights.resolve.WeightFile.recipe", lambda file: {"file": file.filename}
    )
    Keypose("hrnet", tmp_path).recipe()
    assert sorted(asked) == sorted([RTMO.weights.filename, HRNET.weights.filename])
