"""The commands and snippets of README and docs, as they are written there, and which of them are not run so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HOME = Path(__file__).parents[2]
PAGES = (HOME / "README.md", *sorted((HOME / "docs").glob("*.md")))
COMMAND = re.compile(r"(t2i-shards|make|python|accelerate|torchrun|ray|export|docker|kubectl|aws|sbatch)\s")
MARK = re.compile(r"not run by (us|make docs)", re.IGNORECASE)
SCHEMATIC = re.compile(r"…|\.\.\.|\[--|[A-Z]\|")
"""Of a command in which the reader is to fill something in."""
ELSEWHERE = re.compile(r"(s3|hf)://")
"""Places that only a reader has; the suite runs such commands against servers of its own."""


@dataclass(frozen=True)
class Snippet:
    """line: its number in the page. unrun: why it is not run as written; None for one that is."""

    page: str
    line: int
    kind: Literal["shell", "python"]
    text: str
    unrun: str | None = None


def read_snippets(page: Path) -> list[Snippet]:
    """In their order: Python blocks, commands of bash blocks and of indented ones, and those in tables."""
    found: list[Snippet] = []
    whole = ""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].startswith("```"))
            block = lines[number + 1 : end]
            if line == "```python":
                found.append(Snippet(page.name, number + 2, "python", "\n".join(block)))
            elif line == "```bash":
                found += _read_commands(page.name, number + 2, block)
            number = end
        elif line.startswith("    ") and not lines[number - 1].strip():
            end = next((n for n in range(number, len(lines)) if not lines[n].startswith("    ")), len(lines))
            found += _read_commands(page.name, number + 1, [of[4:] for of in lines[number:end]])
            number = end - 1
        elif line.startswith("| "):
            for command in _read_row(line, whole):
                found.append(Snippet(page.name, number + 1, "shell", command, _judge(command)))
                whole = whole if "the same with" in line else command
        number += 1
    return found


def _read_commands(page: str, first: int, block: list[str]) -> Iterator[Snippet]:
    """A comment that says so marks the commands after it, up to an empty line."""
    note, begun, text = "", first, ""
    for number, line in enumerate(block, first):
        if not line.strip():
            note = ""
        if not text and line.startswith("#"):
            note = line if MARK.search(line) else note
            continue
        begun = begun if text else number
        text += line.strip()
        if text.endswith("\\"):
            text = f"{text[:-1].rstrip()} "
            continue
        command, _, comment = text.partition("  #")
        if COMMAND.match(command):
            yield Snippet(page, begun, "shell", command.strip(), _judge(command, comment, note))
        text = ""


def _read_row(line: str, whole: str) -> list[str]:
    """The commands of a table's row, which may add options to the command before it."""
    code = re.findall(r"`([^`]+)`", line.split("|")[2])
    if "the same with" in line:
        return [f"{whole} {options}" for options in code if options.startswith("--")]
    return [command for command in code if command.startswith("t2i-shards ingest")]


def _judge(command: str, *comments: str) -> str | None:
    """Why a command is not run as written."""
    for comment in comments:
        if MARK.search(comment):
            return comment.strip("# ")
    if SCHEMATIC.search(command):
        return "schematic"
    return "names a bucket or hub repository of the reader's" if ELSEWHERE.search(command) else None
