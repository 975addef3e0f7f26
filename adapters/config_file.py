"""Files of options in TOML: `name = value` for each flag, without its dashes."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from t2i_shards.adapters.flags import Flag, list_flags
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.captions import find_utf16

NAME = "config.toml"
COMMAND = "command"
"""Key that names the command that a file is for."""
OLDER = b"Edit a copy."
"""How the first line ends in files of earlier versions, which hold no digest: edits to those go unnoticed."""


def render_config(command: str, options: Any, without: Collection[str] = ()) -> bytes:
    """The file with which `t2i-shards COMMAND --config FILE` makes the same request again, defaults included.

    Paths are absolute, so that it does from any folder. without: names of flags that are left out, as are options
    that have no value, and the secrets of URLs.
    """
    values = {flag.name: (_place(flag, flag.read(options)), flag.default) for flag in list_flags(type(options))}
    given = {
        name: value
        for name, (value, default) in values.items()
        if name not in without and value is not None and (value != () or default)
    }
    lines = (f"{name} = {_render(value)}\n" for name, value in {COMMAND: command, **given}.items())
    body = "".join(lines).encode("utf-8", "surrogateescape")
    head = (
        f"{_begin(command)}makes this request again; flags override what is here. Never overwritten once edited: "
    )
    return head.encode() + _sign(body) + b"\n" + body


def _place(flag: Flag, value: Any) -> Any:
    """The value, made absolute where it is a path: what is given without a flag is one."""
    if isinstance(value, tuple):
        return tuple(_place(flag, each) for each in value)
    is_path = isinstance(value, Path) or (flag.positional and "://" not in value)
    return os.path.abspath(value) if is_path else value


def is_rendered(path: Path, command: str) -> bool:
    """Whether it is a file, and no link, as `render_config` has made it for this command, with no edits."""
    try:
        head, _, body = read_regular(path).partition(b"\n")
    except OSError:
        return False
    ours = head.startswith(_begin(command).encode()) and head.endswith((_sign(body), OLDER))
    return ours and not path.is_symlink()


def _sign(body: bytes) -> bytes:
    return b"sha256 " + hashlib.sha256(body).hexdigest()[:16].encode()


def split_place(file: str) -> tuple[str, str]:
    """(folder or URL, name) of a file on this machine or in a bucket."""
    folder, slash, name = file.rpartition("/")
    if folder.endswith(":/"):  # s3://bucket
        folder += slash
    return folder or slash or ".", name


def read_config(file: str) -> Mapping[str, Any]:
    """Name -> value: a text, a number, a truth value or a list of them. Raises RequestError.

    file: a path, or a URL such as s3://bucket/name, where Unreachable is raised too.
    """
    folder, name = split_place(file)
    try:
        data = bytes(open_store(folder).load(name)) if "://" in file else read_regular(file)
        utf16 = find_utf16(data)  # as Windows' shell writes what a command prints
        found = tomllib.loads(data.decode(utf16) if utf16 else data.decode("utf-8-sig", "surrogateescape"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        why = getattr(error, "strerror", None) or error
        raise RequestError(f"--config {file} cannot be read: {why}") from None
    for name, value in found.items():
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(each, (str, int, float)) for each in several):
            raise RequestError(f"--config {file}: {name} must be a text, a number, true, false, or a list of them")
        if any("\0" in each for each in several if isinstance(each, str)):
            raise RequestError(f"--config {file}: {name} must be a text without a null character")
    return found


def _begin(command: str) -> str:
    return f"# t2i-shards {command} --config FILE "


def _render(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_render, value))}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    # A string of JSON is one of TOML, but for a sign that TOML wants escaped.
    return json.dumps(hide_secrets(str(value)), ensure_ascii=False).replace("\x7f", "\\u007f")
