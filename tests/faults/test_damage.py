"""Bit flips and truncations of a shard: verify and the stream find every one before a sample is handed out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.tar import BLOCK, read_members
from t2i_shards.pipeline.stages.verify import Verify, plan_verify
from t2i_shards.pipeline.stream import Stream, open_stream
from tests.faults.toys import Pictures, extract_here, make_images

SHARDS, SHARD_SIZE = 3, 6
VICTIM = 1


class Patient:
    """A whole dataset, one tar of which is damaged and healed again."""

    def __init__(self, root: Path, column: str) -> None:
        self.path = root / column / f"{VICTIM:06d}.tar"
        self.whole = self.path.read_bytes()
        dataset = Dataset.open(str(root))
        self.keys = {sample.key for sample in dataset.load(IMAGES, VICTIM)}
        self.verify: Verify = plan_verify(dataset)
        self.stream: Stream = open_stream(str(root), ["toy"])
        offsets, offset = list[int](), 0
        for _, _, content in read_members(memoryview(self.whole)):
            offsets.append(offset)
            offset += BLOCK + len(content) + -len(content) % BLOCK
        self.headers, self.end = offsets, offset

    def damage(self, data: bytes) -> None:
        self.path.unlink()
        self.path.write_bytes(data)

    def assert_found(self, what: str) -> None:
        name = f"{self.path.parent.name}/{self.path.name}"
        errors = self.verify(VICTIM).errors
        assert len(errors) >= 1, f"verify does not see {what}"
        assert errors[0].startswith(name), what
        handed_out = set[str]()
        with pytest.raises(DamagedShard, match=name):
            handed_out.update(sample.key for sample in self.stream.samples(epoch=0))
        assert not handed_out & self.keys, f"the stream hands out samples of a shard with {what}"


@pytest.fixture(params=["images", "toy"])
def patient(request: pytest.FixtureRequest, tmp_path: Path, toy: str) -> Iterator[Patient]:
    dataset = make_images(tmp_path / "dataset", Pictures(SHARDS * SHARD_SIZE), SHARD_SIZE)
    extract_here(dataset)
    patient = Patient(tmp_path / "dataset", request.param)
    assert patient.verify(VICTIM).errors == ()
    assert len(list(patient.stream.samples(0))) == SHARDS * SHARD_SIZE
    yield patient
    patient.damage(patient.whole)
    assert patient.verify(VICTIM).errors == ()


def flips(patient: Patient, rng: random.Random) -> set[tuple[int, int]]:
    """200 places as (byte, bit): 80 in headers, some in the end of the archive, the rest anywhere."""
    size = len(patient.whole)
    places = {(rng.choice(patient.headers) + rng.randrange(BLOCK), rng.randrange(8)) for _ in range(80)}
    places |= {(0, 0), (size - 1, 7), (patient.end, 0), (patient.end + BLOCK, 3)}
    while len(places) < 200:
        places.add((rng.randrange(size), rng.randrange(8)))
    return places


def cuts(patient: Patient, rng: random.Random) -> set[int]:
    """200 lengths: each boundary of a member, the end marks cut off, nothing left, the rest anywhere."""
    places = {*patient.headers, patient.end, patient.end + BLOCK, len(patient.whole) - 1}
    assert 0 in places
    while len(places) < 200:
        places.add(rng.randrange(len(patient.whole)))
    return places


def test_every_bit_flip_is_found(patient: Patient) -> None:
    for byte, bit in sorted(flips(patient, random.Random(1))):
        data = bytearray(patient.whole)
        data[byte] ^= 1 << bit
        patient.damage(bytes(data))
        patient.assert_found(f"bit {bit} of byte {byte} flipped")


def test_every_truncation_is_found(patient: Patient) -> None:
    for length in sorted(cuts(patient, random.Random(2))):
        patient.damage(patient.whole[:length])
        patient.assert_found(f"all after byte {length} cut off")


def test_what_is_added_is_found(patient: Patient) -> None:
    for more in (b"\0", bytes(BLOCK), patient.whole):
        patient.damage(patient.whole + more)
        patient.assert_found(f"{len(more)} bytes more at its end")


def test_a_file_that_is_gone_is_found(patient: Patient) -> None:
    patient.path.unlink()
    patient.assert_found("no file")
    patient.path.touch()
    patient.assert_found("an empty file")
