from __future__ import annotations

import numpy as np
import pytest
import torch

from adapters.batch import Framing, condition_tensor, make_example
from extractors.color import Color
from extractors.formats import FORMATS
from pipeline.errors import RequestError
from pipeline.image import decode_rgb
from pipeline.sample import Sample
from tests.adapters.toys import make_sample, toy_sample

FRAMING = Framing("sketch", size=64, latent=(4, 8, 8))
WHOLE = slice(None), slice(None)


def test_a_visit_is_decided_by_seed_epoch_and_key() -> None:
    sample = toy_sample(1, size=128)
    first, again = (make_example(sample, FRAMING, 0, "3") for _ in range(2))
    assert first.time == again.time
    assert first.caption == again.caption
    for name in ("picture", "condition", "posterior", "noise"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    renamed = Sample("other", sample.members)
    for other in (
        make_example(sample, FRAMING, 1, "3"),
        make_example(sample, FRAMING, 0, "4"),
        make_example(renamed, FRAMING, 0, "3"),
    ):
        assert other.time != first.time
        assert not torch.equal(other.noise, first.noise)


def test_picture_and_condition_are_cropped_together() -> None:
    spots = np.kron(np.random.default_rng(0).integers(0, 2, (24, 40)), np.ones((8, 8))).astype(np.uint8) * 255
    sample = make_sample("spots", np.repeat(spots[..., None], 3, 2), spots, ["spots"])
    crops = set()
    for epoch in range(8):
        example = make_example(sample, FRAMING, 0, str(epoch))
        assert example.picture.shape == (3, 64, 64)
        assert ((example.picture[0] > 0).float() == example.condition[0]).float().mean() > 0.99
        crops.add(example.condition.numpy().tobytes())
    assert len(crops) > 4


def test_every_caption_has_its_turn() -> None:
    sample = toy_sample(1)
    assert {make_example(sample, FRAMING, 0, str(epoch)).caption for epoch in range(20)} == {
        "a disc",
        "a circle",
    }


def test_picture_runs_from_minus_one_to_one() -> None:
    white_and_black = np.zeros((64, 64, 3), np.uint8)
    white_and_black[:, 32:] = 255
    sample = make_sample("bw", white_and_black, white_and_black[..., 0], ["halves"])
    picture = make_example(sample, FRAMING, 0, "0").picture
    assert picture.min() == -1
    assert picture.max() == 1


def test_sketch_is_an_edge_from_128_on() -> None:
    sketch = np.array([[0, 127], [128, 255]], np.uint8)
    sample = make_sample("edge", np.zeros((2, 2, 3), np.uint8), sketch, ["an edge"])
    condition = condition_tensor(sample, "sketch", np.zeros((2, 2, 3), np.uint8), WHOLE)
    assert condition.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]


def test_other_conditions_keep_their_values() -> None:
    depth = np.array([[0, 51], [102, 255]], np.uint8)
    sample = Sample("depth", FORMATS["depth"].encode(depth))
    condition = condition_tensor(sample, "depth", np.zeros((2, 2, 3), np.uint8), WHOLE)
    expected = torch.tensor([[0, 0.2], [0.4, 1.0]])
    torch.testing.assert_close(condition, expected.expand(3, 2, 2))


def test_colours_are_those_of_the_crop_and_need_no_column() -> None:
    sample = toy_sample(3, size=192)
    framing = Framing("color", size=128, latent=(4, 16, 16))
    example = make_example(sample, framing, 0, "0")
    crop = ((example.picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    extractor = Color("default", None)
    expected = extractor.format.draw(extractor(crop[None])[0], 128, 128)
    assert np.array_equal((example.condition * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def test_picture_below_the_crop_is_refused_by_name() -> None:
    sample = toy_sample(5)
    height, width = decode_rgb(sample.members["jpg"]).shape[:2]
    with pytest.raises(RequestError, match=f"--size 128 .* 000005 is {width}x{height}"):
        make_example(sample, Framing("sketch", 128, (4, 16, 16)), 0, "0")
