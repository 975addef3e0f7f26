from __future__ import annotations

import torch

from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for

WIDTHS = (32, 32, 64, 64)


def test_features_have_the_shapes_that_the_unet_adds() -> None:
    with torch.device("meta"):
        adapter = Adapter(adapter_config_for("base", 3, (320, 640, 1280, 1280)))
        features = adapter(torch.empty(2, 3, 512, 768))
    assert [tuple(f.shape) for f in features] == [
        (2, 320, 64, 96),
        (2, 640, 32, 48),
        (2, 1280, 16, 24),
        (2, 1280, 8, 12),
    ]


def test_xl_features_have_the_shapes_that_the_sdxl_unet_adds() -> None:
    with torch.device("meta"):
        features = Adapter(adapter_config_for("xl", 3, (320, 640, 1280)))(torch.empty(1, 3, 1024, 1024))
    assert [tuple(f.shape[1:]) for f in features] == [
        (320, 64, 64),
        (640, 64, 64),
        (1280, 32, 32),
        (1280, 32, 32),
    ]


def test_first_weights_depend_on_the_seed_alone() -> None:
    layout = adapter_config_for("small", 1, WIDTHS)
    first = make_adapter(layout, seed=1).state_dict()
    torch.rand(3)
    again, other = make_adapter(layout, seed=1).state_dict(), make_adapter(layout, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_making_an_adapter_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    make_adapter(adapter_config_for("tiny", 1, WIDTHS), seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
