"""transformers' networks from tensors at hand: no hub, no file names, and not one tensor missing or left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_published(architecture: Any, config: Any, state: dict[str, Tensor]) -> nn.Module:
    """The network in eval mode. `state` has the names of the published file, which may be an older layout.

    Raises RuntimeError for a missing, foreign or misshapen tensor; transformers alone would draw it at random.
    """
    with hide_loading_bars():
        network, info = architecture.from_pretrained(
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # or its error names no tensor; those are in info, and refused below
        )
    wrong = {kind: sorted(map(str, found))[:3] for kind, found in info.items() if found}
    if wrong:
        raise RuntimeError(f"the weights do not fit {architecture.__name__}: {wrong}")
    loaded: nn.Module = network.eval().requires_grad_(False)
    return loaded


@contextmanager
def hide_loading_bars() -> Iterator[None]:
    """Inside the block transformers shows no bar while it reads weights, nor the hub's client for downloads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
