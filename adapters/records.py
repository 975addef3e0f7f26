"""Reading the files of a run, which may be damaged or another program's: a bad one gives one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def read_record(path: Path, kind: type[T], closed: bool = False) -> T:
    """The JSON file at `path` as a `kind`, see `decode_record`. Raises RequestError."""
    try:
        return decode_record(read_regular(path), kind, closed)
    except BadRecord as error:
        raise RequestError(f"{path}: {error}") from None


def read_named_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of a safetensors file. Raises RequestError."""
    from t2i_shards.extractors.weights.checkpoints import NotTensors, read_tensors

    try:
        return read_tensors(path)
    except NotTensors as error:
        raise RequestError(str(error)) from None
