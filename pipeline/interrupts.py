"""Control-C: while processes are started, and where another error takes its place."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.resource_tracker import ensure_running
from types import FrameType

SOON = 5.0
"""Seconds in which an error after Control-C is taken for what a library made of it."""
_interrupts: list[float] = []
"""When. Not an Event: Control-C while it is being set would wait without end for the lock that it holds itself."""


def watch_interrupts() -> None:
    """Note for `restore_interrupts` when Control-C is pressed. Where SIGINT is ignored, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _interrupts.append(time.monotonic())
    raise KeyboardInterrupt


@contextmanager
def restore_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for an error of the block that came in its place.

    Python 3.11 raises a RuntimeError for whatever interrupts a `__set_name__`, which all enums run when imported.
    A library may also have swallowed it: an error that comes later, of something else, is that error.
    """
    try:
        yield
    except Exception as error:
        soon = _interrupts and time.monotonic() - _interrupts[-1] < SOON
        if soon or (_interrupts and _comes_of_interrupt(error)):
            raise KeyboardInterrupt from error
        raise


def _comes_of_interrupt(error: BaseException) -> bool:
    """Whether the error was raised for, or while, a KeyboardInterrupt was."""
    before = error.__cause__ or error.__context__
    return before is not None and (isinstance(before, KeyboardInterrupt) or _comes_of_interrupt(before))


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Control-C is raised at the end of the block only, and never reaches processes started in it.

    A terminal sends SIGINT to all processes of a command; this one then ends the others, and says so in one line.
    New processes inherit this thread's signal mask. The mask alone does not protect this process: the kernel
    delivers the signal to any other thread, and Python then raises KeyboardInterrupt in the main thread.
    """
    ensure_running()  # its first start, as part of starting a process, would unblock the signal again
    interrupts: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    # Handlers always run in the main thread. Where SIGINT is ignored, new processes must inherit that.
    handled = threading.current_thread() is threading.main_thread() and handler not in (None, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if handled:
        signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handled:
            signal.signal(signal.SIGINT, handler)
        if interrupts:
            signal.raise_signal(signal.SIGINT)
