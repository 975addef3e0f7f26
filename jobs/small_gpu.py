"""A GPU that has too little memory: what is said of it, in every process."""

from __future__ import annotations

import sys

SMALL_GPU = (
    "the GPU has too little memory; generate and evaluate need less with --offload, --precision fp16, or a "
    "smaller --batch or --size, and train with --gradient-checkpointing, --precision bf16 or --micro-batch 1; "
    "nothing that is done is lost"
)


def is_small_gpu(error: Exception) -> bool:
    """Whether torch found no memory on a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
