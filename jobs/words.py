"""The words that follow a command: which options they give, and why tyro refused them, in one line."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from t2i_shards.adapters.flags import Flag, list_flags
from t2i_shards.adapters.inference.config import SURROGATE
from t2i_shards.jobs.help import describe
from t2i_shards.pipeline.errors import RequestError

CLOSE = 0.75
"""How alike an option and its suggestion are: --sampler is no misspelt --sample-every."""
ANY_BYTES: dict[str, tuple[str, ...]] = {
    "train": (),
    "publish": (),
    "evaluate": (),
    "ingest": ("--out",),
    "generate": ("--out", "--prompt", "--negative"),
    "demo": (),
    "miniature": (),
}
"""Commands that record their options -> those that may be named by any bytes, or that say so themselves."""
NUMBERS = {int: "a whole number", float: "a number"}


class CommandLineError(RequestError):
    """The words are no command, or not its options."""


@dataclass(frozen=True)
class Argument:
    """An option with its values, or a word that belongs to none. words: as they were written.

    head: the option, such as --steps; "" for a lone word. flag: None for a lone word or an unknown option.
    on: False for --no-flip. values: those that follow it, or what is after its "=".
    """

    words: tuple[str, ...]
    head: str = ""
    flag: Flag | None = None
    on: bool = True
    values: tuple[str, ...] = ()

    @property
    def resets(self) -> bool:
        """Whether it is a switch turned to what it is by default, an option that tyro does not have."""
        return self.flag is not None and self.flag.switch and self.on == self.flag.default


def scan_words(flags: Sequence[Flag], words: Sequence[str]) -> Iterator[Argument]:
    """What the words say, from the first to the last."""
    known = {f"--{name}": (flag, True) for flag in flags if not flag.positional for name in flag.names}
    known |= {f"--no-{name}": (flag, False) for flag in flags if flag.switch for name in flag.names}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            yield Argument((word,))
            continue
        head, equals, value = word.partition("=")
        flag, on = known.get(head.replace("_", "-"), (None, True))
        room = 0 if equals or (flag and flag.switch) else len(left) if flag is None or flag.several else 1
        following = tuple(takewhile(lambda each: not each.startswith("--"), left[:room]))
        del left[: len(following)]
        yield Argument((word, *following), head, flag, on, (value,) if equals else following)


def refuse_empty_paths(kind: type[Any], words: Sequence[str]) -> None:
    """CommandLineError where a file or folder is "", as from an unset variable: it would be this folder."""
    flags = list(list_flags(kind))
    places = [flag for flag in flags if flag.positional]
    for said in scan_words(flags, words):
        if said.flag and (said.flag.kind is Path or said.flag.name in ("out", "to")) and "" in said.values:
            raise CommandLineError(f"{said.head} must not be empty; write . for this folder")
        if places and not said.head and said.words == ("",):
            raise CommandLineError(f"{places[0].metavar} must not be empty; write . for this folder")


def refuse_not_utf8(command: str, kind: type[Any], words: Sequence[str]) -> None:
    """CommandLineError where a name that the command writes into JSON is not UTF-8, before any work is done."""
    if (free := ANY_BYTES.get(command.partition(" ")[0])) is None:
        return
    for said in scan_words(list(list_flags(kind)), words):
        for value in said.values if said.head else said.words:
            if SURROGATE.search(value) and said.head not in free:
                raise CommandLineError(f"{said.head or 'a name'} must be UTF-8 text, not {value!r}; rename it")


@contextmanager
def refuse_in_one_line(command: str, kind: type[Any] | None, words: Sequence[str]) -> Iterator[None]:
    """In the block, where tyro parses the words of a command of this dataclass, its refusal is a CommandLineError.

    kind: None where no command is named.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            yield
    except SystemExit as ended:
        if ended.code != 2:
            raise
        line = kind and _explain(command, list(list_flags(kind)), words)
        raise CommandLineError(line or _flatten(told.getvalue())) from None
    sys.stderr.write(told.getvalue())


def _explain(command: str, flags: Sequence[Flag], words: Sequence[str]) -> str | None:
    """The first thing that is wrong with the words, or None where none is found."""
    said = list(scan_words(flags, words))
    for each in said:
        if each.resets:
            return f"{each.head} is how {command} does it anyway, so leave it out"
        if each.flag is None and each.words[0].startswith("-"):
            return _name_unknown(command, flags, each.head or each.words[0])
        if wrong := each.flag and _judge_values(each, each.flag):
            return wrong
    lone = [each.words[0] for each in said if not each.head]
    places = [flag for flag in flags if flag.positional]
    if len(lone) > len(places) and not any(flag.several for flag in places):
        takes = " ".join(flag.metavar for flag in places) or "only options"
        return f"{command} takes {takes}, and {lone[len(places)]} is one word too many; quote a value with spaces"
    if said and said[-1].flag and said[-1].flag.several:  # which leaves its last values to these
        lone += said[-1].values[len(lone) - len(places) :]
    given = {each.flag for each in said} | set(places[: len(lone)])
    missing = [flag for flag in flags if flag.default is MISSING and flag not in given]
    return _name_missing(command, missing) if missing else None


def _name_unknown(command: str, flags: Sequence[Flag], head: str) -> str:
    options = (flag for flag in flags if not flag.positional)
    names = [f"no-{name}" if flag.default is True else name for flag in options for name in flag.names]
    near = get_close_matches(head.lstrip("-"), names, 1, CLOSE)
    hint = f"did you mean --{near[0]}?" if near else f"t2i-shards {command} --help lists its options"
    return f"{command} has no option {head}; {hint}"


def _judge_values(said: Argument, flag: Flag) -> str | None:
    """What is wrong with the values of an option, if anything is."""
    if flag.switch:
        return f"{said.head} takes no value, and {said.values[0]!r} is one" if said.values else None
    if not said.values and not flag.several:
        return f"{said.head} must be followed by a value"
    for value in said.values if said.words[1:] else ():
        if value.startswith("-") and value[1:2].isalpha():  # tyro takes it for an option
            return f"{said.head} must be followed by a value; write {said.head}={value} for one that begins with -"
    rule = NUMBERS.get(flag.kind)
    if get_origin(flag.kind) is Literal:
        rule = f"one of {', '.join(map(str, get_args(flag.kind)))}"
    for value in said.values:
        if rule and not _is_one(flag.kind, value):
            return f"{said.head} must be {rule}, not {value!r}"
    return None


def _is_one(kind: Any, value: str) -> bool:
    if get_origin(kind) is Literal:
        return value in map(str, get_args(kind))
    try:
        kind(value)
    except ValueError:
        return False
    return True


def _name_missing(command: str, missing: Sequence[Flag]) -> str:
    *others, last = (flag.metavar if flag.positional else f"--{flag.name}" for flag in missing)
    if not others:
        return f"{command} must be given {last}: {_describe(missing[0])}"
    return f"{command} must be given {', '.join(others)} and {last}; t2i-shards {command} --help describes them"


def _describe(flag: Flag) -> str:
    """What help says of an option, to follow a colon."""
    text = describe(flag).removesuffix(".") or "--help describes it"
    return text if text[1].isupper() else text[0].lower() + text[1:]


def _flatten(box: str) -> str:
    """The words in a box of tyro's, or in what it draws in ASCII: those between its title and the next rule."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    within = dropwhile(_is_rule, lines)
    return " ".join(" ".join(takewhile(lambda line: not _is_rule(line), within)).split())


def _is_rule(line: str) -> bool:
    return not line.strip("─╰╯-")
