"""Errors in a sample's members, reported with the sample's key."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.sample import Sample

P = ParamSpec("P")
T = TypeVar("T")


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
