"""The readers that people use: each reads what was published before it counts as published."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from t2i_shards.extractors.budget import stored_size
from t2i_shards.pipeline.errors import IncompleteError, describe_error
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.manifest import Line, by_split, load_line, stream_lines
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.store import Store

AT_ONCE = 8
"""Shards of a store far away that are brought here at a time."""
PICTURES = (".jpg", ".png")


@dataclass(frozen=True)
class ReadSample:
    """A sample as a reader gave it. members: their names. decode: opens every member; raises what it raises."""

    key: str
    members: frozenset[str]
    decode: Callable[[], object]


Reader = Callable[[Mapping[str, Sequence[Path]], Path | None], Iterator[tuple[str, ReadSample]]]
"""Gives (split, sample) of all samples of local shards by split; the folder is the publication's, where these are
all its shards. Raises ImportError when its library is not installed."""


def read_webdataset(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    """webdataset, as its users read local shards."""
    import webdataset

    for split, shards in paths.items():
        for sample in webdataset.WebDataset([os.fspath(path) for path in shards], shardshuffle=False):
            members = {name: data for name, data in sample.items() if not name.startswith("__")}
            yield split, ReadSample(sample["__key__"], frozenset(members), partial(decode_members, members))


def read_datasets(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    """Hugging Face datasets, streaming: by the card of the folder, or the bare shards where there is none."""
    import datasets

    with tempfile.TemporaryDirectory(prefix="t2i-shards-") as cache:
        if folder is not None:
            loaded = datasets.load_dataset(os.fspath(folder), streaming=True, cache_dir=cache)
        else:
            files = {split: [os.fspath(path) for path in shards] for split, shards in paths.items()}
            loaded = datasets.load_dataset("webdataset", data_files=files, streaming=True, cache_dir=cache)
        if set(loaded) != set(paths):
            raise IncompleteError(f"finds the splits {', '.join(sorted(loaded))}, not {', '.join(sorted(paths))}")
        for split, stream in loaded.items():
            features = stream.features
            wrong = [n for n in features if n.endswith(("jpg", "png")) and type(features[n]) is not datasets.Image]
            if wrong:
                raise IncompleteError(f"takes {', '.join(wrong)} for {features[wrong[0]]}, not for an Image")
            for name in features:
                if type(features[name]) is datasets.Image:
                    stream = stream.cast_column(name, datasets.Image(decode=False))
            for sample in stream:
                members = {
                    name: value["bytes"] if isinstance(value, dict) and "bytes" in value else value
                    for name, value in sample.items()
                    if not name.startswith("__") and value is not None
                }
                yield split, ReadSample(sample["__key__"], frozenset(members), partial(decode_members, members))


def decode_members(members: Mapping[str, Any]) -> None:
    """Open every member of a sample that is bytes. Raises ValueError, OSError."""
    for name, data in members.items():
        if not isinstance(data, bytes | memoryview):
            continue
        if name.endswith("json"):
            json.loads(bytes(data))
        elif name.endswith("txt"):
            bytes(data).decode()
        elif name.endswith(("jpg", "png")):
            kind = "JPEG" if name.endswith("jpg") else "PNG"
            stored_size(data, kind)
            with Image.open(io.BytesIO(data), formats=(kind,)) as image:
                image.load()


LOCAL: Mapping[str, Reader] = {"webdataset": read_webdataset, "datasets": read_datasets}


def read_back(store: Store, lines: Sequence[Line], readers: Mapping[str, Reader]) -> list[str]:
    """Read all shards with each reader and with our own stream, which also verifies every byte.

    Gives the names of the readers that are not installed. Raises IncompleteError that names reader and split when
    one of them counts other samples, misses a member, or cannot decode the first or last sample of a split.
    """
    splits = by_split(lines)
    for split, shards in splits.items():
        seen = (
            (split, _seen(sample.key, sample.members))
            for sample in stream_lines(store, shards).samples(0, ranks=1)
        )
        _check("stream", seen, {split: shards})
    missing = []
    for name, reader in readers.items():
        try:
            if isinstance(store, FolderStore):
                folder = Path(store.root).absolute()
                paths = {split: [folder / line.name for line in shards] for split, shards in splits.items()}
                _check(name, reader(paths, folder), splits)
            else:
                _check_far(name, reader, store, lines)
        except ImportError:
            missing.append(name)
    return missing


def _check_far(name: str, reader: Reader, store: Store, lines: Sequence[Line]) -> None:
    for start in range(0, len(lines), AT_ONCE):
        some = lines[start : start + AT_ONCE]
        with store.scratch() as scratch:
            paths: dict[str, list[Path]] = {}
            for line in some:
                local = scratch / Path(line.name).name
                local.write_bytes(load_line(store, line))
                paths.setdefault(line.split, []).append(local)
            _check(name, reader(paths, None), by_split(some))


def _seen(key: str, members: Mapping[str, Any]) -> ReadSample:
    return ReadSample(key, frozenset(members), partial(decode_members, members))


def _check(name: str, seen: Iterable[tuple[str, ReadSample]], splits: Mapping[str, Sequence[Line]]) -> None:
    counts = dict.fromkeys(splits, 0)
    ends: dict[str, tuple[ReadSample, ReadSample]] = {}
    try:
        for split, sample in seen:
            expected = frozenset(splits[split][0].members)
            if sample.members != expected:
                lacking = ", ".join(sorted(expected ^ sample.members))
                raise IncompleteError(f"sees {sample.key} with other members than it has ({lacking})")
            counts[split] += 1
            ends[split] = (ends[split][0] if split in ends else sample, sample)
        for first, last in ends.values():
            first.decode()
            last.decode()
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        said = str(error) if isinstance(error, IncompleteError) else describe_error(error)
        raise IncompleteError(f"reading back with {name}: {said}") from error
    for split, shards in splits.items():
        samples = sum(line.samples for line in shards)
        if counts[split] != samples:
            raise IncompleteError(
                f"reading back with {name}: {split} has {number_of(samples, 'sample')}, it counts {counts[split]}"
            )
