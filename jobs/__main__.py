"""The command line: `t2i-shards`, or `python -m t2i_shards`.

What takes seconds to import is imported within `main`, where Control-C is answered.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from t2i_shards import __version__
from t2i_shards.jobs.stdout import divert_others, open_standard_streams, refuse_closed_output

if TYPE_CHECKING:
    from t2i_shards.jobs.command import Command

INTERRUPTED = 130
QUIET = {"NO_ALBUMENTATIONS_UPDATE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Settings that keep libraries from calling home."""


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments name. Raises RequestError where they name none."""
    from t2i_shards.jobs.commands import parse_command

    return parse_command(arguments)


def run(arguments: Sequence[str]) -> int:
    """Parse and execute. The exit code."""
    from t2i_shards.jobs.command import INCOMPLETE, WRONG, execute, refuse
    from t2i_shards.jobs.messages import apply_messages, kept, take_messages
    from t2i_shards.pipeline.errors import IncompleteError, RequestError

    with ExitStack() as stack:
        try:
            messages, words = take_messages(arguments)
            if words[:1] == ["--version"]:
                with refuse_closed_output():
                    print(f"t2i-shards {__version__}")
                return 0
            stack.enter_context(apply_messages(messages))
            kept.info(f"t2i-shards {__version__}: {shlex.join(words)}")
            with refuse_closed_output():
                command = parse(words)
            code = execute(command, messages.verbose)
        except RequestError as error:  # options check themselves as they are made
            code = refuse(str(error), WRONG)
        except IncompleteError as error:
            code = refuse(str(error), INCOMPLETE)
        except KeyboardInterrupt:
            kept.info(f"ended with {INTERRUPTED}")
            raise
        kept.info(f"ended with {code}")
        return code


def main() -> None:
    """Entry point of `t2i-shards`."""
    open_standard_streams()
    try:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        divert_others()
        from t2i_shards.pipeline.interrupts import restore_interrupts, watch_interrupts
        from t2i_shards.pipeline.plain import show_logs_plain

        watch_interrupts()
        show_logs_plain()
        with restore_interrupts():
            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("t2i-shards: interrupted; the same command continues from here\n")
        code = INTERRUPTED
        # CPython flags a KeyboardInterrupt that escapes an exec of source text, which dataclasses use, and
        # `python -m` then dies of SIGINT instead of exiting with this code. A new exec clears the flag.
        exec("")
    # What is still shutting down, such as Ray, ends by itself if Control-C interrupts it here.
    signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    sys.stdout = sys.stderr  # for what is printed while the process exits
    sys.exit(code)


if __name__ == "__main__":
    main()
