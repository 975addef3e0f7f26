"""The flags of a request, as the fields of its dataclasses define them for tyro."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import tyro

from t2i_shards.pipeline.marks import Mark

POSITIONAL = get_args(tyro.conf.Positional[int])[1]


@dataclass(frozen=True)
class Flag:
    """One option. name: without dashes in front, such as "micro-batch". aliases: its other names.

    path: the attributes that lead to it from the request. default: its value when it is not given, MISSING where
    it must be. several: it takes any number of values. positional: its value is given without its name, and help
    calls it `metavar`. kind: the type of a value. owner: the dataclass that has the field. group: the group of
    options that it is in, "" for the command's own. hint: what help says in place of its default. mark: where help
    shows it.
    """

    name: str
    path: tuple[str, ...]
    default: Any
    aliases: tuple[str, ...] = ()
    several: bool = False
    positional: bool = False
    metavar: str = ""
    kind: Any = str
    owner: type[Any] = object
    group: str = ""
    hint: str | None = None
    mark: Mark = Mark.COMMON

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def switch(self) -> bool:
        """Whether it takes no value: --flip, or --no-duplicates for what is on by default."""
        return isinstance(self.default, bool)

    def read(self, options: Any) -> Any:
        """Its value in a request."""
        for name in self.path:
            options = getattr(options, name)
        return options


def list_flags(kind: type[Any], path: tuple[str, ...] = (), group: str = "") -> Iterator[Flag]:
    """The flags of a request of this dataclass, those of its groups included. group: that this dataclass is."""
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        if not each.init:
            continue
        hint, notes = _split(hints[each.name])
        here = (*path, each.name)
        settings = [note for note in notes if hasattr(note, "aliases")]
        named = next((note.name for note in settings if note.name is not None), None)
        if is_dataclass(hint):
            inner = group if named == "" else named or each.name
            yield from list_flags(hint, here, inner)  # type: ignore[arg-type]  # a type, as fields' hints are
            continue
        yield Flag(
            named or each.name.rstrip("_").replace("_", "-"),
            here,
            each.default if each.default_factory is MISSING else each.default_factory(),
            tuple(alias.removeprefix("--") for note in settings for alias in note.aliases or ()),
            several=get_origin(hint) is tuple,
            positional=POSITIONAL in notes,
            metavar=next((note.metavar for note in settings if note.metavar), ""),
            kind=_kind_of(hint),
            owner=kind,
            group=group,
            hint=next((note.help_behavior_hint for note in settings if note.help_behavior_hint), None),
            mark=next((note for note in notes if isinstance(note, Mark)), Mark.ADVANCED if group else Mark.COMMON),
        )


def _kind_of(hint: Any) -> Any:
    """The type of one value: int of `int | None` and of `tuple[int, ...]`."""
    if get_origin(hint) in (Union, UnionType, tuple):
        return next(_split(kind)[0] for kind in get_args(hint) if kind is not NoneType)
    return hint


def _split(hint: Any) -> tuple[Any, list[Any]]:
    """A type, and what it is annotated with, also where the annotated type is itself annotated."""
    notes: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        notes += more
    return hint, notes
