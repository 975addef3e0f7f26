"""Numbers that are not finite: an adapter that holds one is neither kept nor used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from t2i_shards.pipeline.errors import RequestError


def name_not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor that holds an infinity or a NaN; None where all are finite."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)


def find_not_finite(folder: Path) -> str | None:
    """FILE: TENSOR of the first such tensor in the safetensors files of a folder, read one at a time; or None.

    Raises RequestError for a file that is damaged.
    """
    for file in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118  (it is no mapping)
                    if not torch.isfinite(opened.get_tensor(name)).all():
                        return f"{file.relative_to(folder)}: {name}"
        except SafetensorError as error:
            raise RequestError(f"{file} is no safetensors file: {error}") from None
    return None
