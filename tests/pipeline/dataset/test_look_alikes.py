"""Duplicates as comparing each picture with every earlier one would find them, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from t2i_shards.pipeline.dataset import close_pairs, look_alikes, scratch_arrays
from t2i_shards.pipeline.dataset.fingerprints import UNKNOWN, Fingerprints
from t2i_shards.pipeline.dataset.look_alikes import EXACT, NEAR_256, VARIED, Marked, match
from t2i_shards.pipeline.image.phash import hash_greys, shrink_grey
from t2i_shards.pipeline.scenes import render
from tests.bench.photographs import photographs


def compare_all(prints: Fingerprints, near: int) -> Iterator[tuple[int, int, int]]:
    """`match`, as it is defined."""
    kept, belongs = list[int](), dict[bytes, int]()

    def bits(i: int, j: int) -> int | None:
        if min(int(prints.hashes[i]).bit_count(), int(prints.hashes[j]).bit_count()) < VARIED:
            return None
        differ = (int(prints.hashes[i]) ^ int(prints.hashes[j])).bit_count()
        one, other = prints.hashes_256[i], prints.hashes_256[j]
        known = (one != UNKNOWN).any() and (other != UNKNOWN).any()
        confirmed = not known or np.bitwise_count(one ^ other).sum() <= NEAR_256
        return differ if near and differ <= near and confirmed else None

    for i in range(len(prints.hashes)):
        file = prints.files[i].tobytes() if prints.files[i].any() else None
        if file in belongs:
            yield i, belongs[file], EXACT
            continue
        found = [(b, j) for j in kept if (b := bits(i, j)) is not None]
        if found:
            yield i, min(found)[1], min(found)[0]
        else:
            kept.append(i)
        if file:
            belongs[file] = min(found)[1] if found else i


def draw_prints(seed: int, count: int) -> Fingerprints:
    """Hashes a few bits from a few centres, some of the longer ones unknown, files that come again, and some whose
    digests begin alike."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return random.integers(0, 1 << 63, shape, dtype=np.uint64)

    centres = draw(30)
    centres[:2] &= np.uint64(0x1000100010001001)  # flat pictures
    hashes = centres[random.integers(0, 30, count)]
    for _ in range(6):
        bit = np.uint64(1) << random.integers(0, 64, count).astype(np.uint64)
        hashes ^= bit * random.integers(0, 2, count).astype(np.uint64)
    longer = draw(2, 4)[random.integers(0, 2, count)]
    longer ^= draw(count, 4) & draw(count, 4) & draw(count, 4) & draw(count, 4)
    longer[random.random(count) < 0.1] = UNKNOWN
    files = draw(150, 4)
    files[:20, 0] = files[0, 0]
    files[-20:] = 0
    return Fingerprints(files[random.integers(0, 150, count)], hashes, longer)


@pytest.mark.parametrize("near", [0, 2, 4, 8])
@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_as_if_all_were_compared(near: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_alikes, "CHUNK", chunk)
    prints = draw_prints(near, 200)
    found = list(match(prints, near, tmp_path))
    assert found == list(compare_all(prints, near))
    kinds = {bits == EXACT for _, _, bits in found}
    assert kinds == ({True} if near == 0 else {True, False})


@pytest.mark.parametrize("near", [0, 4])
@pytest.mark.parametrize("seed", range(4))
def test_what_comes_later_changes_no_mark(near: int, seed: int, tmp_path: Path) -> None:
    """Pictures in any order, some more each time, get the marks that comparing all at once gives them."""
    drawn, random = draw_prints(seed, 240), np.random.default_rng(seed)
    order = random.permutation(240)
    every = Fingerprints(drawn.files[order], drawn.hashes[order], drawn.hashes_256[order])
    marks, count = list[tuple[int, int, int]](), 0
    for stop in (*sorted(random.choice(240, 5).tolist()), 240):
        there = Fingerprints(every.files[:stop], every.hashes[:stop], every.hashes_256[:stop])
        numbers = {index: number for number, (index, _, _) in enumerate(marks)}
        new = list(match(there, near, tmp_path, Marked(count, numbers.get)))
        marks += [(index, of if of < stop else marks[of - stop][1], bits) for index, of, bits in new]
        count = stop
    assert marks == list(match(every, near, tmp_path))
    assert len({bits for _, _, bits in marks}) >= (1 if near == 0 else 4)


BASE = np.uint64(0x5555555555555555)
"""The hash of a picture that is varied."""


def test_a_duplicate_belongs_to_one_that_is_none(tmp_path: Path) -> None:
    hashes = BASE ^ np.array([0, 0b111, 0b1111111, 0xFFFF << 40, 0b1, 0, 0b111], np.uint64)
    files = np.zeros((7, 4), np.uint64)
    files[:, 0] = [1, 2, 3, 4, 5, 1, 2]
    assert list(match(Fingerprints(files, hashes, np.zeros_like(files)), 4, tmp_path)) == [
        (1, 0, 3),
        # Four bits from the one before, which is a duplicate itself, and seven from the first: kept.
        (4, 0, 1),
        (5, 0, EXACT),
        (6, 0, EXACT),
    ]


def test_no_pictures(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.uint64)
    assert list(match(Fingerprints(none, none[:, 0], none), 4, tmp_path)) == []


@pytest.mark.parametrize("near", [0, 4])
def test_memory_does_not_grow_with_the_pictures(
    near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 and of 32 chunks; the arrays in files are not counted."""
    for module in (look_alikes, close_pairs, scratch_arrays):
        monkeypatch.setattr(module, "CHUNK", 2048)

    def peak(count: int) -> int:
        folder = tmp_path / f"{count}"
        folder.mkdir()
        random = np.random.default_rng(count)
        draw = (random.integers(0, 1 << 63, (2048, 9), dtype=np.uint64) for _ in range(count // 2048))
        rows = scratch_arrays.write_array(folder / "rows", draw, 9)
        rows[-50:] = rows[:50]
        prints = Fingerprints(rows[:, :4], rows[:, 4], rows[:, 5:])
        tracemalloc.start()
        marks = sum(1 for _ in match(prints, near, folder))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert marks == 50
        return peak

    peak(2048)  # what is imported late
    assert peak(32 * 2048) < 1.1 * peak(8 * 2048)


def fingerprint(pictures: list[np.ndarray], longer: bool = True) -> Fingerprints:
    """Without files; as in datasets of earlier versions where not `longer`."""
    seen = hash_greys([shrink_grey(picture) for picture in pictures])
    numbers = [np.frombuffer(bytes.fromhex(of["phash"] + of["phash256"]), ">u8") for of in seen]
    rows = np.array(numbers, np.uint64)
    return Fingerprints(np.zeros((len(rows), 4), np.uint64), rows[:, 0].copy(), rows[:, 1:] * np.uint64(longer))


COMMON_GROUND = (33, 364, 2433, 6843, 8633)


def test_scenes_that_share_a_background_are_told_apart(tmp_path: Path) -> None:
    """They show other things, and their hashes of 64 bits differ in 2 or 4."""
    scenes = [render(0, index, 128, "simple").picture for index in COMMON_GROUND]
    assert list(match(fingerprint(scenes), 4, tmp_path)) == []
    assert len(list(match(fingerprint(scenes, longer=False), 4, tmp_path))) >= 3


def shrink(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)


def recode(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a quarter of the size": shrink,
    "saved at quality 30": recode,
    "darker": lambda picture: (picture * 0.85).astype(np.uint8),
    "warmer": lambda picture: np.clip(picture * np.array([1.08, 1, 0.92]), 0, 255).astype(np.uint8),
    "its grey": lambda picture: cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "without 1 % of each side": lambda picture: np.ascontiguousarray(picture[5:-5, 5:-5]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_photograph_that_was_changed_a_little_is_found(change: str, tmp_path: Path) -> None:
    pictures = photographs(4, 512)
    found = list(match(fingerprint([*pictures, *map(CHANGES[change], pictures)]), 4, tmp_path))
    assert [(index, of) for index, of, _ in found] == [(4 + i, i) for i in range(4)]


def plain(colour: int | tuple[int, int, int]) -> np.ndarray:
    return np.full((64, 96, 3), colour, np.uint8)


def line(x: int) -> np.ndarray:
    return cv2.line(plain(255), (x, 0), (x, 63), (0, 0, 0), 3)


PLAIN = [
    *map(plain, (0, 1, 128, 255, (255, 0, 0), (0, 0, 255))),
    *(np.concatenate([plain(one), plain(other)], axis) for one, other in ((0, 255), (90, 40)) for axis in (0, 1)),
    *(
        np.repeat(np.linspace(*ends, 96, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
        for ends in ((0, 255), (90, 40))
    ),
    *map(line, (20, 40, 70)),
]


def test_pictures_with_nothing_to_see_are_compared_by_file_alone(tmp_path: Path) -> None:
    """Their hashes are the same or nearly so, whatever their colours: frequencies that are 0 say nothing."""
    seen = hash_greys([shrink_grey(picture) for picture in PLAIN])
    assert max(int(of["phash"], 16).bit_count() for of in seen) < VARIED
    for longer in (True, False):
        prints = fingerprint(PLAIN, longer)
        assert list(match(prints, 4, tmp_path)) == []
        prints.files[1:3] = 7
        assert list(match(prints, 4, tmp_path)) == [(2, 1, EXACT)]


def test_a_longer_hash_of_0_is_known(tmp_path: Path) -> None:
    """It is no reason to confirm what has few bits in the shorter one."""
    longer = np.array([[0] * 4, [2**64 - 2] * 4], np.uint64)
    prints = Fingerprints(np.zeros((2, 4), np.uint64), BASE ^ np.array([0, 1], np.uint64), longer)
    assert list(match(prints, 4, tmp_path)) == []
