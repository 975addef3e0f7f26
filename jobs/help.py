"""--help of a command: its common options first, and then the advanced ones, group by group."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import docstring_parser

from t2i_shards.adapters.flags import Flag, list_flags
from t2i_shards.pipeline.marks import Mark

HELP = ("-h", "--help")
WIDEST = 100
"""Characters of a line, also on a wider terminal."""
INDENT = 24
"""Where texts begin, right of the names of options."""
LAST = ("dry-run", "json")
"""Options of nearly every command."""
EVERYWHERE = (
    "In any command: -v says more, and prints the traceback of a fault of the program; -q says less; --log FILE "
    "keeps what is said; --config FILE takes options from a file."
)
METAVARS = {str: "STR", int: "INT", float: "FLOAT", Path: "PATH"}


def print_commands(before: str, about: str, kinds: Mapping[str, type[Any]]) -> None:
    """List the commands that may follow these words."""
    print(f"usage: {before} COMMAND ...\n")
    print(*_wrap(about), "", _bold("commands:"), sep="\n")
    width = max(map(len, kinds)) + 4
    for name, kind in kinds.items():
        print(*_entry(name, _summary_of(kind), width), sep="\n")
    print("", *_wrap(f"{before} COMMAND --help describes one. {EVERYWHERE}"), sep="\n")


def print_command(name: str, kind: type[Any]) -> None:
    """Describe a command with its options."""
    flags = [flag for flag in list_flags(kind) if flag.mark is not Mark.HIDDEN]
    places = [flag for flag in flags if flag.positional]
    required = [flag for flag in flags if flag.default is MISSING and not flag.positional]
    asked = [_invoke(flag) for flag in places] + [f"--{flag.name} {_value_of(flag)}" for flag in required]
    print(*_wrap(" ".join(["usage: t2i-shards", name, *asked, "[OPTIONS]"]), "       "), "", sep="\n")
    for paragraph in (kind.__doc__ or "").split("\n\n"):
        print(*_wrap(paragraph), "", sep="\n")
    for title, group in _arrange(kind, flags):
        print(_bold(title))
        for flag in group:
            print(*_entry(_invoke(flag), " ".join([describe(flag), *_remark(flag)]), INDENT), sep="\n")
        print()
    print(*_wrap(EVERYWHERE), sep="\n")


def _arrange(kind: type[Any], flags: Sequence[Flag]) -> Iterator[tuple[str, Sequence[Flag]]]:
    """The groups of help, with their titles."""
    if places := [flag for flag in flags if flag.positional]:
        yield "arguments:", places
    options = [flag for flag in flags if not flag.positional]
    advanced = [flag for flag in options if flag.mark is Mark.ADVANCED]
    common = [flag for flag in options if flag.mark is Mark.COMMON]
    common.sort(key=lambda flag: (flag.default is not MISSING, flag.name in LAST, flag.owner is not kind))
    yield "common options:" if advanced else "options:", common
    for name in sorted(dict.fromkeys(flag.group for flag in advanced), key=bool):  # the command's own first
        group = [flag for flag in advanced if flag.group == name]
        about = _summary_of(group[0].owner).partition(". ")[0].removesuffix(".")
        title = f", {name.replace('_', ' ')}: {about[0].lower()}{about[1:]}" if name else ":"
        yield f"advanced{title}", group


def describe(flag: Flag) -> str:
    """What is said of an option where its dataclass defines it; "" for nothing."""
    owners = filter(is_dataclass, flag.owner.__mro__)
    return next((text for owner in owners if (text := _read_descriptions(owner).get(flag.path[-1]))), "")


@cache
def _read_descriptions(kind: type[Any]) -> Mapping[str, str]:
    """What follows each field of a dataclass."""
    found = docstring_parser.parse_from_object(kind).params
    return {field.arg_name: " ".join((field.description or "").split()) for field in found}


def _summary_of(kind: type[Any]) -> str:
    """The first paragraph of a dataclass' docstring."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _invoke(flag: Flag) -> str:
    """--lr, --learning-rate FLOAT"""
    if flag.positional:
        return f"{flag.metavar} ..." if flag.several else flag.metavar
    names = ", ".join(f"--{'no-' if flag.default is True else ''}{name}" for name in flag.names)
    return f"{names} {_value_of(flag)}".rstrip()


def _value_of(flag: Flag) -> str:
    if flag.switch:
        return ""
    if get_origin(flag.kind) is Literal:
        one = f"{{{','.join(map(str, get_args(flag.kind)))}}}"
    else:
        one = METAVARS[flag.kind]
    return f"{one} ..." if flag.several else one


def _remark(flag: Flag) -> Iterator[str]:
    """(required), (default: 8), or what the option says itself."""
    if flag.hint is not None:
        yield flag.hint
    elif flag.default is MISSING:
        yield from () if flag.positional else ("(required)",)
    elif not flag.switch and flag.default not in (None, (), ""):
        values = flag.default if isinstance(flag.default, tuple) else (flag.default,)
        yield f"(default: {' '.join(map(str, values))})"


def _entry(name: str, text: str, indent: int) -> list[str]:
    """A name, and the text next to it, or below where the name is long."""
    rows = _wrap(text, " " * indent, " " * indent)
    if len(name) + 4 <= indent:
        return [f"  {name}".ljust(indent) + rows[0].lstrip(), *rows[1:]] if rows else [f"  {name}"]
    return [*_wrap(name, " " * 8, "  "), *rows]


def _wrap(text: str, after: str = "", first: str = "") -> list[str]:
    """Lines of the terminal's width. after, first: what the others, and the first one, begin with."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    text = " ".join(text.split())
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _bold(title: str) -> str:
    title = "\n".join(_wrap(title))
    return f"\x1b[1m{title}\x1b[0m" if sys.stdout.isatty() else title
