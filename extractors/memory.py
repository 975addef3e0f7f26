"""Running out of memory: how to recognise it, and what to free before trying again."""

from __future__ import annotations

import gc
import sys

SAID = ("can't allocate memory", "not enough memory", "Insufficient memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch's CPU allocator (Linux, Windows), OpenCV and cuBLAS say; their errors have no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at once might have gone well."""
    names = [cls.__name__ for cls in type(error).__mro__]
    # By name: torch (OutOfMemoryError) and OpenCV (error) may not be loaded.
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return True
    return ("RuntimeError" in names or "error" in names) and any(part in str(error) for part in SAID)


def free_memory() -> None:
    """Give back what is no longer used; torch keeps freed memory of a GPU for itself otherwise."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
