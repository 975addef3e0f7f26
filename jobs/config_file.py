"""--config FILE: the options of a file, as if they had been given on the command line, which overrides them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from t2i_shards.adapters.config_file import COMMAND, read_config, split_place
from t2i_shards.adapters.flags import Flag, list_flags
from t2i_shards.jobs.words import scan_words
from t2i_shards.pipeline.dataset.description import OWN
from t2i_shards.pipeline.errors import IncompleteError, RequestError, Unreachable
from t2i_shards.pipeline.publish import Publication
from t2i_shards.pipeline.publish.continued import take_options
from t2i_shards.pipeline.publish.plan import CLAIM, read_claim
from t2i_shards.pipeline.shards.store import open_store

CONFIG = "--config"


def add_config(file: str, command: str, kind: type[Any], words: Sequence[str]) -> list[str]:
    """The words that follow the name of a command of this dataclass, with the options of the file added.

    A switch that the file sets can be set back: --no-flip, --duplicates. Raises RequestError for what the file
    holds and the command does not know.
    """
    flags = list(list_flags(kind))
    said = list(scan_words(flags, words))
    positional = [word for each in said if not each.head for word in each.words]
    given = {each.flag.name for each in said if each.flag}
    added: list[str] = []
    for flag, value in _match(file, command, flags):
        if flag.positional:
            positional = positional or [str(each) for each in (value if isinstance(value, list) else [value])]
        elif flag.name not in given:
            added += _spell(file, flag, value)
    return [*positional, *added, *(word for each in said if each.head and not each.resets for word in each.words)]


def _match(file: str, command: str, flags: Sequence[Flag]) -> Iterator[tuple[Flag, Any]]:
    """The flags that the file names, with their values."""
    claims = command == "publish" and split_place(file)[1] == CLAIM
    asked = dict(_read_claim(file) if claims else read_config(file))
    if (other := asked.pop(COMMAND, command)) != command:
        raise RequestError(f"--config {file} is for {other}, not for {command}")
    by_name = {name: flag for flag in flags for name in flag.names}
    seen: dict[str, str] = {}
    for key, value in asked.items():
        name = key.replace("_", "-")
        if name not in by_name:
            near = get_close_matches(name, by_name, 1)
            hint = f"did you mean {near[0]}?" if near else f"t2i-shards {command} --help names all"
            raise RequestError(f"--config {file}: {command} has no option {key!r}; {hint}")
        flag = by_name[name]
        if (first := seen.setdefault(flag.name, key)) != key:
            raise RequestError(f"--config {file}: {first} and {key} are the same option, so leave one out")
        for word in value if isinstance(value, list) else [value]:
            if (flag.several or flag.positional) and str(word).startswith("--"):
                raise RequestError(f"--config {file}: {flag.name} must not be {word!r}, which is another option")
        yield flag, value


def _read_claim(file: str) -> Mapping[str, Any]:
    """The options of a publication, from its publish.json.

    Own pictures are published unasked, so such a publication does not ask for those of a crawl.
    """
    try:
        claim = read_claim(open_store(split_place(file)[0]))
        had = take_options(Publication(), claim or {}, file)
    except Unreachable:
        raise
    except IncompleteError as error:
        raise RequestError(f"{CONFIG} {file} cannot be read: {error}") from None
    if claim is None:
        raise RequestError(f"{CONFIG} {file} cannot be read: there is none")
    if claim.get("source", {}).get("kind") in OWN:
        had = replace(had, with_images=False)
    values = {flag.name: flag.read(had) for flag in list_flags(Publication)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _spell(file: str, flag: Flag, value: Any) -> list[str]:
    """The words that give the flag this value."""
    if flag.switch != isinstance(value, bool):
        wanted = "true or false" if flag.switch else "a value, not true or false"
        raise RequestError(f"--config {file}: {flag.name} must be {wanted}")
    if flag.switch:
        return [] if value == flag.default else [f"--{flag.name}" if value else f"--no-{flag.name}"]
    if flag.several:
        return [f"--{flag.name}", *map(str, value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise RequestError(f"--config {file}: {flag.name} must be one value, not a list")
    return [f"--{flag.name}={value}"]
