from __future__ import annotations

import pytest

from t2i_shards.adapters.errors import names_sample
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.sample import Sample

SAMPLE = Sample("000007", {"jpg": b"picture"})


@names_sample
def read(sample: Sample, name: str, error: Exception | None = None) -> bytes:
    """Reads a member."""
    if error is not None:
        raise error
    return bytes(sample.members[name])


def test_what_can_be_read_is_given_as_it_is() -> None:
    assert read(SAMPLE, "jpg") == b"picture"
    assert read.__doc__ == "Reads a member."


def test_a_member_that_is_missing_or_damaged_is_named_with_its_sample() -> None:
    with pytest.raises(DamagedShard, match=r"^000007: has no member 'sketch\.png'$"):
        read(SAMPLE, "sketch.png")
    with pytest.raises(DamagedShard, match=r"^000007: cannot be read: cut short$") as raised:
        read(SAMPLE, "jpg", ValueError("cut short"))
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [RequestError("too small"), MemoryError()])
def test_what_is_not_the_members_fault_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        read(SAMPLE, "jpg", error)
    assert raised.value is error
