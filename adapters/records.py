"""Reading what may be damaged, a file of a run or a member of a sample: a bad one gives one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.sample import Sample

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
T = TypeVar("T")


def read_record(path: Path, kind: type[T], closed: bool = False) -> T:
    """The JSON file at `path` as a `kind`, see `decode_record`. Raises RequestError."""
    try:
        return decode_record(read_regular(path), kind, closed)
    except BadRecord as error:
        raise RequestError(tell_damage(str(path), str(error))) from None


def read_named_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of a safetensors file. Raises RequestError."""
    from t2i_shards.extractors.weights.checkpoints import NotTensors, read_tensors

    try:
        return read_tensors(path)
    except NotTensors as error:
        raise RequestError(str(error)) from None


def names_sample(read: Callable[Concatenate[Sample, P], T]) -> Callable[Concatenate[Sample, P], T]:
    """`read`, which raises DamagedShard with the sample's key where a member is missing or cannot be decoded."""

    @wraps(read)
    def named(sample: Sample, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(sample, *args, **kwargs)
        except KeyError as error:
            raise DamagedShard(f"{sample.key}: has no member {error}") from error
        except ValueError as error:
            raise DamagedShard(f"{sample.key}: cannot be read: {error}") from error

    return named
