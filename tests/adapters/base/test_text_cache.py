from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.base import Base, PromptEmbeds, load_base
from t2i_shards.adapters.base.text_cache import TextCache, digest_text

FIRST = ["a red cube", "", "two dogs"]
SECOND = ["two dogs", "a blue cube", "a red cube", "two dogs", ""]
PLENTY = 10**9


@pytest.fixture(params=["tiny", "tiny_xl"])
def base(request: pytest.FixtureRequest) -> Base:
    found: Base = request.getfixturevalue(request.param)
    return found


class Counted:
    """A base's text encoders, and how many captions they were given."""

    def __init__(self) -> None:
        self.captions = 0

    def see(self, encoder: Any, given: tuple[torch.Tensor, ...], made: Any) -> None:
        self.captions += len(given[0])


@contextmanager
def _counting(base: Base) -> Iterator[Counted]:
    counted = Counted()
    handle = base.text_encoders[0].register_forward_hook(counted.see)
    try:
        yield counted
    finally:
        handle.remove()


def _same(one: PromptEmbeds, other: PromptEmbeds) -> bool:
    assert (one.pooled is None) == (other.pooled is None)
    pooled = one.pooled is None or other.pooled is None or torch.equal(one.pooled, other.pooled)
    return torch.equal(one.states, other.states) and pooled


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def _filled(base: Base, folder: Path) -> None:
    cache = TextCache(base, folder, PLENTY)
    cache.embed(FIRST)
    cache.flush()


def test_cached_is_uncached_bit_for_bit(base: Base, tmp_path: Path) -> None:
    cache = TextCache(base, tmp_path, PLENTY)
    for captions in (FIRST, SECOND, FIRST):
        assert _same(cache.embed(captions), base.embed(captions))
    cache.flush()
    with _counting(base) as counted:
        again = TextCache(base, tmp_path, PLENTY).embed(SECOND)
    assert counted.captions == 0
    assert _same(again, base.embed(SECOND))


def test_every_caption_is_embedded_once(base: Base) -> None:
    cache = TextCache(base)
    with _counting(base) as counted:
        for captions in (FIRST, SECOND, SECOND):
            cache.embed(captions)
    assert counted.captions == 4
    assert (cache.hits, cache.misses) == (9, 4)


def test_what_is_not_used_for_longest_is_forgotten_first(tiny: Base) -> None:
    entry = tiny.embed([""]).states.nbytes
    cache = TextCache(tiny, memory_bytes=2 * entry)
    for caption in ("a", "b", "a", "c"):
        cache.embed([caption])
    with _counting(tiny) as counted:
        cache.embed(["a"])
        cache.embed(["c"])
        assert counted.captions == 0
        cache.embed(["b"])
        assert counted.captions == 1


def test_full_folder_is_only_read(tiny: Base, tmp_path: Path) -> None:
    _filled(tiny, tmp_path)
    held = sum(file.stat().st_size for file in _files(tmp_path))
    cache = TextCache(tiny, tmp_path, held + 1000)
    captions = [*FIRST, "one more"]
    assert _same(cache.embed(captions), tiny.embed(captions))
    cache.flush()
    assert sum(file.stat().st_size for file in _files(tmp_path)) == held
    assert (cache.hits, cache.misses) == (3, 1)


def test_a_file_is_written_whenever_enough_is_new(tiny: Base, tmp_path: Path) -> None:
    entry = tiny.embed([""]).states.nbytes
    cache = TextCache(tiny, tmp_path, PLENTY, shard_bytes=2 * entry)
    for caption in ("a", "b", "c", "d", "e"):
        cache.embed([caption])
    assert [len(load_file(file)["keys"]) for file in _files(tmp_path)] == [2, 2]


def test_nothing_of_another_base_is_found(tiny: Base, tiny_xl: Base, tmp_path: Path) -> None:
    other = load_base("tiny")
    other.text_encoders[0].get_input_embeddings().weight[0, 0] += 1e-3
    bases = [tiny, tiny_xl, other, load_base("tiny", dtype=torch.bfloat16)]
    assert len({digest_text(base) for base in bases}) == 4
    for base in bases:
        cache = TextCache(base, tmp_path, PLENTY)
        prompt_embeds = cache.embed(FIRST)
        cache.flush()
        assert cache.hits == 0
        assert _same(prompt_embeds, base.embed(FIRST))
    for base in bases:
        assert _same(TextCache(base, tmp_path, PLENTY).embed(FIRST), base.embed(FIRST))


def test_another_tokenizer_is_not_given_the_first_ones_entries(tiny: Base, tmp_path: Path) -> None:
    _filled(tiny, tmp_path)
    [tokenizer] = tiny.tokenizers
    shouting = replace(tiny, tokenizers=(_Shouting(tokenizer),))  # type: ignore[arg-type]
    cache = TextCache(shouting, tmp_path, PLENTY)
    assert _same(cache.embed(["a red cube"]), tiny.embed(["a red cube !"]))


class _Shouting:
    def __init__(self, tokenizer: Any) -> None:
        self.model_max_length = tokenizer.model_max_length
        self._tokenizer = tokenizer

    def __call__(self, captions: list[str], **settings: Any) -> Any:
        return self._tokenizer([f"{caption} !" for caption in captions], **settings)


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def _swap_rows(file: Path, name: str) -> None:
    tensors = load_file(file)
    save_file({**tensors, name: tensors[name].flip(0).contiguous()}, file)


def _change(file: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(file)
    save_file({**tensors, name: change(tensors[name]).clone()}, file)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: _flip(file, -3 * 32 - 1),  # behind the states lie three digests, and then three keys
        lambda file: _flip(file, -77 * 32 * 4 * 2),
        lambda file: _flip(file, 0),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(b""),
        lambda file: _swap_rows(file, "states"),
        lambda file: _swap_rows(file, "keys"),
        lambda file: save_file({"other": torch.ones(1)}, file),
        lambda file: _change(file, "keys", lambda keys: keys.bfloat16()),
        lambda file: _change(file, "keys", lambda keys: keys[0, 0]),
        lambda file: _change(file, "states", lambda states: states.view(torch.uint8)),
        lambda file: _change(file, "states", lambda states: states.flatten(1)),
        lambda file: _change(file, "digests", lambda digests: digests[:0]),
    ],
)
@pytest.mark.parametrize("opened_before", [True, False])
def test_damage_is_noticed_and_repaired(base: Base, tmp_path: Path, damage: Any, opened_before: bool) -> None:
    _filled(base, tmp_path)
    [file] = _files(tmp_path)
    cache = TextCache(base, tmp_path, PLENTY) if opened_before else None
    damage(file)
    cache = cache or TextCache(base, tmp_path, PLENTY)
    assert _same(cache.embed(FIRST), base.embed(FIRST))
    cache.flush()
    # Entries next to the damaged one may be gone as well, but no wrong one is left.
    assert _same(TextCache(base, tmp_path, PLENTY).embed(FIRST), base.embed(FIRST))


def test_file_that_another_process_removed_is_no_error(tiny: Base, tmp_path: Path) -> None:
    _filled(tiny, tmp_path)
    cache = TextCache(tiny, tmp_path, PLENTY)
    _files(tmp_path)[0].unlink()
    assert _same(cache.embed(FIRST), tiny.embed(FIRST))
    assert (cache.hits, cache.misses) == (0, 3)


def test_folder_that_cannot_be_written_is_warned_of_once(
    tiny: Base, disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, and a file where the folder should be."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 4096))
    (tmp_path / "file").touch()
    for folder in (disk / "cache", tmp_path / "file"):
        caplog.clear()
        cache = TextCache(tiny, folder, PLENTY, shard_bytes=1)
        for captions in (FIRST, SECOND):
            assert _same(cache.embed(captions), tiny.embed(captions))
        cache.flush()
        (line,) = caplog.messages
        assert line.startswith("text cache: nothing more is written to it: ")
        assert not _files(folder)


def test_half_written_file_is_never_seen(tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TextCache(tiny, tmp_path, PLENTY)
    cache.embed(FIRST)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            cache.flush()
    assert _files(tmp_path) == []
