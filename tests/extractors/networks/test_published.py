"""transformers' networks take exactly the tensors they have: it alone draws what is missing at random."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.utils import logging

from t2i_shards.extractors.networks.published import load_published

CONFIG = CLIPVisionConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
)
BIAS = "post_layernorm.bias"


@pytest.fixture
def state() -> dict[str, Any]:
    return dict(CLIPVisionModel(CONFIG).state_dict())


def test_the_tensors_are_the_network_s_bit_for_bit(state: dict[str, Any]) -> None:
    network = load_published(CLIPVisionModel, CONFIG, dict(state))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("fault", ["missing", "foreign", "misshapen"])
def test_a_tensor_that_does_not_fit_is_refused_by_name(fault: str, state: dict[str, Any]) -> None:
    name = BIAS
    if fault == "missing":
        del state[name]
    elif fault == "foreign":
        name = "another.bias"
        state[name] = torch.zeros(8)
    else:
        state[name] = torch.zeros(9)
    with pytest.raises(RuntimeError, match=f"do not fit CLIPVisionModel: .*{name}"):
        load_published(CLIPVisionModel, CONFIG, state)


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_is_left_as_it_was(shown: bool, state: dict[str, Any]) -> None:
    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        load_published(CLIPVisionModel, CONFIG, state)
        assert logging.is_progress_bar_enabled() == shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
