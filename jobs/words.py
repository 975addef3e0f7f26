"""Options that every command has, taken out of its words before these are parsed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t2i_shards.pipeline.errors import RequestError


def take_file(words: Sequence[str], name: str) -> tuple[Path | None, list[str]]:
    """The file that `name FILE` or `name=FILE` gives, and the words without it. Raises RequestError."""
    rest, files, following = list[str](), list[str](), iter(words)
    for word in following:
        if word == name:
            files.append(next(following, ""))
        elif word.startswith(f"{name}="):
            files.append(word.removeprefix(f"{name}="))
        else:
            rest.append(word)
    if len(files) > 1 or "" in files:
        raise RequestError(f"{name} must be given one file, not {' '.join(files) or 'none'}")
    if files and files[0].startswith("-"):
        raise RequestError(
            f"{name} must be given a file, not the option {files[0]}; write ./{files[0]} for a file"
        )
    return (Path(files[0]), rest) if files else (None, rest)
