"""Mask2Former against the network and the post-processing that its publisher gives, on photographs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from t2i_shards.extractors import segmentation
from t2i_shards.extractors.batch import fixed_threads
from t2i_shards.extractors.maps.coco_classes import (
    COCO_STUFF,
    MERGED,
    NOT_IN_USE,
    PANOPTIC_IDS,
    PANOPTIC_TO_VALUE,
    UNLABELLED,
)
from t2i_shards.extractors.segmentation import SWIN_TINY, Segmentation
from tests.extractors.published_networks import published_mask2former, sized, write_mask2former

VALUES = np.array(list(PANOPTIC_TO_VALUE.values()))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the extractors have: sums may differ in the last bit with the number."""
    with fixed_threads(1):
        yield


class Pair(NamedTuple):
    """The extractor, loaded from a file, and the network that wrote the file."""

    extractor: Segmentation
    reference: Any


def photograph(height: int, width: int) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a part of a picture that scikit-image carries."""
    return np.ascontiguousarray(data.astronaut()[60 : 60 + height, 60 : 60 + width])


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("seg")
    torch.manual_seed(0)
    reference = published_mask2former()
    path = folder / SWIN_TINY.name / SWIN_TINY.filename
    path.parent.mkdir()
    write_mask2former(reference, path)
    assert path.stat().st_size == SWIN_TINY.bytes  # the published file's, to the byte
    network = segmentation.NETWORKS["default"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmentation.NETWORKS, "default", replace(network, weights=sized(SWIN_TINY, path)))
        extractor = Segmentation("default", folder)
        extractor.load("cpu")
        yield Pair(extractor, reference)


def publishers_input(picture: np.ndarray) -> Tensor:
    """By its publisher's own preprocessing, less the resizing."""
    from transformers import Mask2FormerImageProcessor

    mean, std = (0.48500001430511475, 0.4560000002384186, 0.4059999883174896), (0.229, 0.224, 0.225)
    processor = Mask2FormerImageProcessor(do_resize=False, image_mean=mean, image_std=std)
    pixels: Tensor = processor([picture], return_tensors="pt")["pixel_values"]
    return pixels


def test_equals_the_publishers_network_and_post_processing(mask2former: Pair) -> None:
    from transformers import Mask2FormerImageProcessor

    picture = photograph(384, 384)  # the side at which the publisher's post-processing upsamples the masks
    with torch.inference_mode():
        found = mask2former.reference(pixel_values=publishers_input(picture))
    expected = Mask2FormerImageProcessor().post_process_semantic_segmentation(found)[0].numpy()
    assert len(np.unique(expected)) > 20
    (condition_map,) = mask2former.extractor(picture[None])
    assert (condition_map != VALUES[expected]).sum() <= 15  # of 147,456, where two classes are equal to six digits


@pytest.mark.parametrize(("height", "width"), [(96, 128), (64, 160)])
def test_scores_are_masks_weighed_by_classes(mask2former: Pair, height: int, width: int) -> None:
    picture = photograph(height, width)
    with torch.inference_mode():
        found = mask2former.reference(pixel_values=publishers_input(picture))
        masks = nn.functional.interpolate(found.masks_queries_logits, (height, width), mode="bilinear")
        scores = mask2former.extractor.network(
            mask2former.extractor.published.see(torch.from_numpy(picture).permute(2, 0, 1)[None])
        )[0]
    classes = found.class_queries_logits[0].double().softmax(dim=-1)[:, :133]
    expected = torch.tensordot(classes.T, masks[0].double().sigmoid(), dims=1)
    assert expected.std() > 0.1
    assert (scores - expected).abs().max() <= 1e-4 * expected.max()


def test_sees_rgb_normalised_as_imagenet(mask2former: Pair) -> None:
    picture = photograph(64, 96)
    seen = mask2former.extractor.published.see(torch.from_numpy(picture).permute(2, 0, 1)[None])
    assert (seen - publishers_input(picture)).abs().max() <= 1e-5


class Ramp(nn.Module):
    """Class x // 2 + 5 * y at pixel (x, y) of the padded picture, whose sides it notes."""

    sides: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        self.sides = tuple(x.shape[2:])
        rows, columns = torch.meshgrid(*map(torch.arange, self.sides), indexing="ij")
        classes = (columns // 2 + 5 * rows) % 133
        return nn.functional.one_hot(classes, 133).permute(2, 0, 1)[None].float()


def test_a_map_holds_the_pixel_values_of_its_classes_and_lies_on_the_picture(mask2former: Pair) -> None:
    ramp = Ramp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask2former.extractor, "network", ramp)
        (condition_map,) = mask2former.extractor(photograph(37, 51)[None])
    rows, columns = np.mgrid[:37, :51]
    assert ramp.sides == (64, 64)
    assert np.array_equal(condition_map, VALUES[(columns // 2 + 5 * rows) % 133])


def test_a_single_pixel_has_a_class(mask2former: Pair) -> None:
    (condition_map,) = mask2former.extractor(photograph(1, 1)[None])
    assert condition_map.shape == (1, 1)
    assert condition_map[0, 0] in VALUES


def test_a_tensor_that_does_not_fit_is_refused(mask2former: Pair, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from t2i_shards.extractors.networks.mask2former import load_mask2former

    state = {
        k: v.contiguous() for k, v in mask2former.reference.state_dict().items() if k != "class_predictor.bias"
    }
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"do not fit.*class_predictor\.bias"):
        load_mask2former(tmp_path / "model.safetensors")


def test_merged_categories_take_the_class_whose_name_they_kept() -> None:
    for number, (first, *others) in MERGED.items():
        assert PANOPTIC_TO_VALUE[number] == COCO_STUFF.index(first)
        assert all(other in COCO_STUFF for other in others)
    assert COCO_STUFF[PANOPTIC_TO_VALUE[184]] == "tree"
    assert COCO_STUFF[PANOPTIC_TO_VALUE[197]] == "building-other"


def test_every_class_has_a_value_of_its_own() -> None:
    assert len(COCO_STUFF) == len(set(COCO_STUFF)) == 182
    assert len(set(VALUES)) == len(PANOPTIC_IDS) == 133
    assert not set(VALUES) & {*NOT_IN_USE, UNLABELLED}
    assert list(PANOPTIC_IDS) == sorted(PANOPTIC_IDS)


def test_the_classes_are_the_published_ones(assets: Path) -> None:
    lines = (assets / "labels" / "cocostuff_labels.txt").read_text().splitlines()
    published = dict(line.split(": ") for line in lines if line)
    assert {str(value + 1): name for value, name in enumerate(COCO_STUFF)} | {"0": "unlabeled"} == published
    categories = json.loads((assets / "images" / "coco_panoptic" / "panoptic_coco_categories.json").read_text())
    assert [category["id"] for category in categories] == list(PANOPTIC_IDS)
    for category in categories:
        name = category["name"].removesuffix("-merged")
        assert COCO_STUFF[PANOPTIC_TO_VALUE[category["id"]]] in (name, f"{name}-other")
