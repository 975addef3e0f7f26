from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.compose import AdapterInput, check_base, compose
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.options import AdapterName
from t2i_shards.pipeline.errors import RequestError

WIDTHS = (32, 32, 32, 64)


def adapter(seed: int, channels: int = 1, size: AdapterName = "tiny", widths: tuple[int, ...] = WIDTHS) -> Adapter:
    return make_adapter(adapter_config_for(size, channels, widths), seed)


def control_images(seed: int, channels: int = 1) -> torch.Tensor:
    return torch.rand((2, channels, 64, 128), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_features_are_the_weighted_sum_by_hand() -> None:
    """Bit for bit, of adapters of different sizes and channels."""
    adapter_inputs = [
        AdapterInput(adapter(1), control_images(1), 0.7),
        AdapterInput(adapter(2, 3, "small"), control_images(2, 3), -0.4),
        AdapterInput(adapter(3, 3, "base"), control_images(3, 3), 1.3),
    ]
    first, second, third = (
        adapter_input.adapter(adapter_input.control_images) for adapter_input in adapter_inputs
    )
    composed = compose(adapter_inputs, 0.9)
    assert len(composed) == 4
    for place, feature in enumerate(composed):
        by_hand = ((first[place] * 0.7 + second[place] * -0.4) + third[place] * 1.3) * 0.9
        assert torch.equal(feature, by_hand)


@torch.no_grad()
def test_one_adapter_at_full_weight_is_itself() -> None:
    adapter_input = AdapterInput(adapter(1), control_images(1))
    for composed, own in zip(
        compose([adapter_input]), adapter_input.adapter(adapter_input.control_images), strict=True
    ):
        assert torch.equal(composed, own)


def test_different_widths_are_refused_by_name() -> None:
    adapter_inputs = [
        AdapterInput(adapter(1), control_images(1), name="sketch"),
        AdapterInput(adapter(2, widths=(32, 32, 32, 32)), control_images(2)),
    ]
    with pytest.raises(
        RequestError, match="sketch has 32/8 32/16 32/32 64/64, adapter has 32/8 32/16 32/32 32/64"
    ):
        compose(adapter_inputs)


def test_an_adapter_of_the_other_family_is_refused(tiny: Base) -> None:
    """Also where the widths alone would not tell."""
    check_base(tiny, [AdapterInput(adapter(1), control_images(1))])
    with pytest.raises(RequestError, match="depth has features"):
        check_base(tiny, [AdapterInput(adapter(1, widths=(32, 32, 64, 64)), control_images(1), name="depth")])
    with pytest.raises(RequestError, match="family"):
        check_base(tiny, [AdapterInput(adapter(1, size="xl", widths=(32, 32, 32)), control_images(1))])
