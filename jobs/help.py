"""--help as tyro prints it, in whole sentences and no wider than the terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO

import docstring_parser

COLOUR = re.compile(r"\x1b\[[\d;]*m")
_C = f"(?:{COLOUR.pattern})*"
TITLE = re.compile(f"^({_C}(?:╭{_C}─{_C})? {_C})([a-z._]+)({_C} options(?:.*?(?=─))?)((?:─+{_C}╮| *){_C})$")
"""Of a group, in a box or, where the output is not in UTF-8, above a rule: tyro makes it of fields' names, such as
"source.downloads.limits options"."""


@contextmanager
def readable_help(wrapped: bool = True) -> Iterator[None]:
    """In the block an option's text is one paragraph, and what is printed is wrapped, if it is to be.

    tyro begins a new line of help at every indented line of a docstring, and does not wrap a command's own one. It
    keeps the texts that it has read, so all that is printed in a process needs this.
    """
    parse = docstring_parser.parse_from_object

    def parse_joined(documented: Any) -> docstring_parser.Docstring:
        found = parse(documented)
        for of in found.params:
            of.description = of.description and " ".join(of.description.split())
        return found

    docstring_parser.parse_from_object = parse_joined  # type: ignore[assignment]  # tyro gives no style
    try:
        # print needs no more of a file
        with redirect_stdout(_Wrapped(sys.stdout)) if wrapped else nullcontext():  # type: ignore[type-var]
            yield
    finally:
        docstring_parser.parse_from_object = parse


class _Wrapped:
    """Standard output, with titles in plain words, and lines that are wider than the terminal wrapped."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._columns = out, shutil.get_terminal_size().columns

    def write(self, text: str) -> int:
        return self._out.write("\n".join(self._wrap(TITLE.sub(_name_group, line)) for line in text.split("\n")))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def _wrap(self, line: str) -> str:
        if len(COLOUR.sub("", line)) <= self._columns:
            return line
        line = re.sub(r"\{[\w,-]+\}$", "COMMAND ...", line) if "usage:" in line else line
        return textwrap.fill(line, self._columns, break_long_words=False, break_on_hyphens=False)


def _name_group(title: re.Match[str]) -> str:
    """ "source.downloads.limits options" -> "source download limit options"."""
    start, names, options, end = title.groups()
    words = " ".join(name.removesuffix("s") for name in names.split("."))
    return start + words + options + ("─" if "─" in end else " ") * (len(names) - len(words)) + end
