"""Networks that wait in CPU memory and go to the GPU only to work, one at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def offload(networks: Iterable[torch.nn.Module], device: torch.device | str) -> None:
    """Keep the networks in CPU memory; each goes to `device` when it is called, and the one before it leaves.

    networks: in the order in which a picture passes them. This is diffusers' enable_model_cpu_offload, with the
    same hooks of accelerate, but the chain is closed: the first takes the place of the last when the next picture
    begins. SDXL's text encoders, which are called in turns, are on the device together.
    """
    from accelerate import cpu_offload_with_hook

    # A device without its number equals none that a tensor is on, and accelerate would move networks at each call.
    indexed, last = torch.empty(0, device=device).device, None
    hooks: list[Any] = []
    for network in networks:
        _, last = cpu_offload_with_hook(network.to("cpu"), indexed, prev_module_hook=last)
        hooks.append(last)
    hooks[0].hook.prev_module_hook = last


def find_device(network: torch.nn.Module) -> torch.device:
    """Where the network works, also while it waits elsewhere."""
    hook = getattr(network, "_hf_hook", None)
    # diffusers' `device` walks all modules, and a step asks several times.
    found: torch.device = hook.execution_device if hook else next(network.parameters()).device
    return found
