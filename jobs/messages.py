"""What a command says besides its summary: -v and -q choose how much of it, --log keeps it in a file.

A level of Python's logging for each kind of line: DEBUG for details, INFO for progress, ERROR for problems.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import PACKAGE, PlainFormatter, PlainHandler

VERBOSE, QUIET, LOG = ("-v", "--verbose"), ("-q", "--quiet"), "--log"

_shown = PlainHandler()
_shown.setLevel(logging.INFO)
# Not by getLogger: these lines are for no other handler than those that are added here.
terminal = logging.Logger(f"{PACKAGE}.terminal", logging.DEBUG)
"""Lines for standard error, as far as they are asked for, and for the file of --log."""
terminal.addHandler(_shown)
kept = logging.Logger(f"{PACKAGE}.kept", logging.DEBUG)
"""Lines for the file of --log alone."""
kept.addHandler(logging.NullHandler())


def take_file(words: Sequence[str], name: str) -> tuple[str | None, list[str]]:
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
        raise RequestError(f"{name} must be given a file, not the option {files[0]}; or write ./{files[0]}")
    return (files[0] if files else None), rest


@dataclass(frozen=True)
class Messages:
    """How much is said. log: the file to which all of it is appended with the time."""

    verbose: bool = False
    quiet: bool = False
    log: Path | None = None


def take_messages(words: Sequence[str]) -> tuple[Messages, list[str]]:
    """What the words say of messages, and the other words, which are for the command. Raises RequestError."""
    verbose, quiet = ({*words} & {*names} for names in (VERBOSE, QUIET))
    file, rest = take_file(words, LOG)
    if verbose and quiet:
        raise RequestError("-v asks for more to be said and -q for less, so leave one out")
    log = Path(file) if file else None
    return Messages(bool(verbose), bool(quiet), log), [word for word in rest if word not in (*VERBOSE, *QUIET)]


@contextmanager
def apply_messages(messages: Messages) -> Iterator[None]:
    """Apply these settings inside the block. RequestError for a file that cannot be written."""
    level = logging.DEBUG if messages.verbose else logging.WARNING if messages.quiet else logging.INFO
    with ExitStack() as stack:
        if messages.log:
            file = _LogFile(messages.log)
            stack.callback(file.close)
            for logger in (terminal, kept, logging.getLogger(PACKAGE)):
                logger.addHandler(file)
                stack.callback(logger.removeHandler, file)
        stack.callback(_shown.setLevel, _shown.level)
        _shown.setLevel(level)
        yield


def shows_bars() -> bool:
    """Whether progress is shown as bars: on a terminal, unless little is to be said."""
    return sys.stderr.isatty() and _shown.level <= logging.INFO


class _LogFile(logging.FileHandler):
    """A file that log lines are appended to; one that cannot be written any more costs the command nothing."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise RequestError(f"{LOG} {path} must be a file that can be written: {error.strerror}") from None
        self.setLevel(logging.DEBUG)
        self.setFormatter(PlainFormatter("%(asctime)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:
        pass
