"""Side files: what a page searches, in scripts next to it. One opened from a disk can read nothing else there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from t2i_shards.pipeline.report.sample_index import Entry, Place
from t2i_shards.pipeline.report.search_index import Chunk
from t2i_shards.pipeline.shards.receipt import shard_name


def encode_side_files(
    entries: Sequence[Entry], columns: Sequence[str], shard: int, size: int
) -> tuple[dict[str, bytes], tuple[Chunk, ...]]:
    """(path -> bytes, and what they hold) of a shard's samples, `size` to a file. columns: images first.

    A side file is one call with one string, whatever its captions say: the JSON of `list_entries`.
    """
    files, chunks = dict[str, bytes](), []
    for number, start in enumerate(range(0, len(entries), size)):
        part = entries[start : start + size]
        path = f"{shard_name(shard)}/samples-{number}"
        text = to_script(to_json(list_entries(part, columns)))
        # What UTF-8 cannot express is written as JavaScript's own escape.
        files[f"{path}.js"] = f"take_samples({text});\n".encode(errors="backslashreplace")
        chunks.append((path, len(part)))
    return files, tuple(chunks)


def list_entries(entries: Sequence[Entry], columns: Sequence[str]) -> dict[str, Any]:
    """Samples as the page's script reads them: a row each, and what the numbers in it stand for."""
    numbers = list(dict.fromkeys(place for entry in entries for place in entry.numbers))
    classes = list(dict.fromkeys(place for entry in entries for place in entry.classes))
    reasons = list(dict.fromkeys(name_drop(*drop) for entry in entries for drop in entry.drops.items()))
    return {
        "numbers": list(map(name_place, numbers)),
        "classes": list(map(name_place, classes)),
        "reasons": reasons,
        "rows": [
            [
                entry.key,
                entry.text,
                entry.name,
                entry.size,
                [entry.numbers.get(place) for place in numbers],
                [entry.classes.get(place, ()) for place in classes],
                [reasons.index(name_drop(*drop)) for drop in entry.drops.items()],
                None if entry.strip is None else shard_name(entry.strip),
                {columns.index(column): note for column, note in entry.notes.items()},
            ]
            for entry in entries
        ],
    }


def name_place(place: Place) -> str:
    """What a number or label map is called between the page and its side files."""
    return "/".join(place)


def name_drop(column: str, reason: str) -> str:
    """A column and a reason, as a page shows them."""
    return f"{column}: {reason}"


def to_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def to_script(data: Any) -> Markup:
    """JSON without the signs that could end a script element or begin a comment or an entity in it."""
    text = to_json(data)
    for sign in "<>&":  # JSON has them nowhere but in strings
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
