from __future__ import annotations

import numpy as np

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.evaluation.example import seed_of
from t2i_shards.adapters.evaluation.grid import GAP, TITLE, lay_out
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import sample_pictures
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.training.preview import SamplePreview
from t2i_shards.extractors.registry import make_extractor
from tests.adapters.toys import toy_sample

SIZE = 128


def watch(base: Base, count: int = 2, **options: int) -> SamplePreview:
    samples = [toy_sample(index, SIZE) for index in range(count)]
    extractor = make_extractor("sketch", "mini")
    extractor.load("cpu")
    return SamplePreview(base, samples, "sketch", SIZE, extractor, Sampling(steps=2), **options)


def adapter(seed: int, channels: int = 1) -> Adapter:
    return make_adapter(adapter_config_for("tiny", channels, (32, 32, 32, 64)), seed)


def test_a_preview_is_the_same_every_time_and_differs_between_adapters(tiny: Base) -> None:
    first = watch(tiny)
    sheet, fidelity = first.render(adapter(0))
    again, measured = watch(tiny).render(adapter(0))
    assert np.array_equal(sheet, again)
    assert fidelity == measured
    assert fidelity.keys() == {"edge_f1"}
    assert not np.array_equal(first.render(adapter(1))[0], sheet)


def test_the_sheet_shows_drawing_generated_and_own_picture(tiny: Base) -> None:
    looked = watch(tiny, seed=4)
    sheet, _ = looked.render(adapter(0, 3))
    given = looked._examples[1]
    top, step = TITLE + GAP + (SIZE + GAP), SIZE + GAP
    cells = [sheet[top : top + SIZE, GAP + k * step : GAP + k * step + SIZE] for k in range(3)]
    assert sheet.shape == (TITLE + 2 * step + GAP, 3 * step + GAP, 3)
    assert (sheet[:TITLE] < 128).any(), "titles"
    assert np.array_equal(cells[0], np.repeat(given.control_image, 3, axis=2))
    assert np.array_equal(cells[2], given.picture)
    from t2i_shards.adapters.inference.control_images import to_control_image

    painted = sample_pictures(
        tiny,
        adapter(0, 3),
        to_control_image(given.control_image, 3, "sketch"),
        [given.caption],
        [seed_of(4, given.key)],
        Sampling(steps=2),
    )
    assert np.array_equal(cells[1], painted[0])


def test_pictures_lie_side_by_side_on_white() -> None:
    grey, colour = np.full((4, 6, 1), 7, np.uint8), np.full((4, 6, 3), 9, np.uint8)
    sheet = lay_out([[grey, colour]])
    assert sheet.shape == (4 + 2 * GAP, 2 * 6 + 3 * GAP, 3)
    assert (sheet == 7).all(axis=2).sum() == (sheet == 9).all(axis=2).sum() == 24
    assert (sheet[:GAP] == 255).all()
