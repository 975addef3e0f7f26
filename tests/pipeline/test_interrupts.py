from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from t2i_shards.pipeline.interrupts import hold_interrupts

SAYS_BLOCKED = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
SAYS_IGNORED = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
TWICE = """
import signal, sys
from t2i_shards.pipeline.interrupts import watch_interrupts

def trace(frame, event, _):
    global lines
    lines += event == "line"
    if lines == again:
        sys.settrace(None)
        signal.raise_signal(signal.SIGINT)
    return trace

watch_interrupts()
for again in range(1, 20):
    lines = 0
    sys.settrace(trace)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print(again)
    sys.settrace(None)
"""


SWALLOWED = """
import signal, sys
from t2i_shards.pipeline import interrupts

interrupts.watch_interrupts()
interrupts.SOON = float(sys.argv[1])
try:
    with interrupts.restore_interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if sys.argv[2] == "replaced":
                raise RuntimeError("calling __set_name__") from error
        raise ValueError("of something else")
except (KeyboardInterrupt, Exception) as error:
    print(type(error).__name__)
"""


def _ask(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip()


@pytest.fixture
def other_thread() -> Iterator[None]:
    """A thread that does nothing, but lives: the kernel gives it the signals that the main thread blocks."""
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait)
    thread.start()
    yield
    ending.set()
    thread.join()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The signal's handler and mask are afterwards what they were before."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) == handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_interrupt_is_raised_at_the_end_of_the_block() -> None:
    ended = False
    with pytest.raises(KeyboardInterrupt), hold_interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        ended = True
    assert ended


def test_an_interrupt_that_another_thread_receives_is_raised_at_the_end_too(other_thread: None) -> None:
    rounds = 0
    with pytest.raises(KeyboardInterrupt), hold_interrupts():  # noqa: PT012
        for _ in range(3):  # several are one
            os.kill(os.getpid(), signal.SIGINT)
            rounds += 1
    assert rounds == 3


def test_an_interrupt_outweighs_an_error_of_the_block(other_thread: None) -> None:
    with pytest.raises(KeyboardInterrupt) as raised, hold_interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("of the block")
    assert isinstance(raised.value.__context__, ValueError)


def test_a_handler_of_the_caller_is_called_once_at_the_end(other_thread: None) -> None:
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        with hold_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            assert not seen
        assert seen == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is note
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_started_in_the_block_do_not_receive_it() -> None:
    with hold_interrupts():
        assert _ask(SAYS_BLOCKED) == "True"
    assert _ask(SAYS_BLOCKED) == "False"


def test_processes_go_on_ignoring_what_this_one_ignores() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            assert _ask(SAYS_IGNORED) == "True"
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_that_another_thread_starts_do_not_receive_it() -> None:
    said: list[str] = []

    def start() -> None:
        with hold_interrupts():
            said.append(_ask(SAYS_BLOCKED))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert said == ["True"]


@pytest.mark.parametrize(
    ("soon", "what", "ends"),
    [
        ("60", "swallowed", "KeyboardInterrupt"),
        ("0", "swallowed", "ValueError"),
        ("0", "replaced", "KeyboardInterrupt"),
    ],
)
def test_an_error_long_after_an_interrupt_is_that_error(soon: str, what: str, ends: str) -> None:
    words = [sys.executable, "-c", SWALLOWED, soon, what]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.split() == [ends]


def test_control_c_again_while_it_is_noted() -> None:
    """At each line that runs then: the second must not wait for the first, nor the first for the second."""
    ended = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.split() == [str(line) for line in range(1, 20)]
