from __future__ import annotations

import pytest
import torch

from adapters.base import Base
from adapters.model.adapter import Adapter, make_adapter
from adapters.model.compose import Part, check_base, compose
from adapters.model.config import layout_for
from adapters.options import AdapterName
from pipeline.errors import RequestError

WIDTHS = (32, 32, 32, 64)


def adapter(seed: int, channels: int = 1, size: AdapterName = "tiny", widths: tuple[int, ...] = WIDTHS) -> Adapter:
    return make_adapter(layout_for(size, channels, widths), seed)


def drawings(seed: int, channels: int = 1) -> torch.Tensor:
    return torch.rand((2, channels, 64, 128), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_features_are_the_weighted_sum_by_hand() -> None:
    """Bit for bit, of adapters of different sizes and channels."""
    parts = [
        Part(adapter(1), drawings(1), 0.7),
        Part(adapter(2, 3, "small"), drawings(2, 3), -0.4),
        Part(adapter(3, 3, "base"), drawings(3, 3), 1.3),
    ]
    first, second, third = (part.adapter(part.drawings) for part in parts)
    composed = compose(parts, 0.9)
    assert len(composed) == 4
    for place, feature in enumerate(composed):
        by_hand = ((first[place] * 0.7 + second[place] * -0.4) + third[place] * 1.3) * 0.9
        assert torch.equal(feature, by_hand)


@torch.no_grad()
def test_one_adapter_at_full_weight_is_itself() -> None:
    part = Part(adapter(1), drawings(1))
    for composed, own in zip(compose([part]), part.adapter(part.drawings), strict=True):
        assert torch.equal(composed, own)


def test_different_widths_are_refused_by_name() -> None:
    parts = [Part(adapter(1), drawings(1), name="sketch"), Part(adapter(2, widths=(32, 32, 32, 32)), drawings(2))]
    with pytest.raises(
        RequestError, match="sketch has 32/8 32/16 32/32 64/64, adapter has 32/8 32/16 32/32 32/64"
    ):
        compose(parts)


def test_an_adapter_of_the_other_family_is_refused(tiny: Base) -> None:
    """Also where the widths alone would not tell."""
    check_base(tiny, [Part(adapter(1), drawings(1))])
    with pytest.raises(RequestError, match="depth has features"):
        check_base(tiny, [Part(adapter(1, widths=(32, 32, 64, 64)), drawings(1), name="depth")])
    with pytest.raises(RequestError, match="family"):
        check_base(tiny, [Part(adapter(1, size="xl", widths=(32, 32, 32)), drawings(1))])
