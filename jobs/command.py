"""What all commands share: how they end.

Exit 0 all done, 1 a fault of the program, 2 the request is wrong, 3 not complete, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro

from t2i_shards.jobs.messages import kept, terminal
from t2i_shards.jobs.small_gpu import SMALL_GPU, is_small_gpu
from t2i_shards.jobs.stdout import divert_prints, print_summary
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.engine.run import Engine
from t2i_shards.pipeline.errors import (
    IncompleteError,
    RequestError,
    describe_error,
    describe_full_disk,
    describe_os_error,
)
from t2i_shards.pipeline.interrupts import restore_interrupts
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.plain import hide_secrets, list_counts, number_of, show_plain
from t2i_shards.pipeline.shards.receipt import null_not_finite
from t2i_shards.pipeline.shards.store import SINGLE_WRITER
from t2i_shards.pipeline.stages.stage import FEW

DONE, FAULT, WRONG, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Summary:
    """How a command ended. line: the last line of its output; record: the same as JSON for --json.

    problems: what is missing, a line each; with any, the command ends with 3. silent: another process prints it.
    """

    line: str
    record: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    silent: bool = False


class Command(Protocol):
    """A frozen dataclass whose fields are the flags."""

    @property
    def json(self) -> bool: ...

    def run(self) -> Summary: ...


@dataclass(frozen=True)
class EngineOptions:
    """How shards are worked on."""

    engine: Common[Engine] = "ray"
    """Ray (this machine, or the cluster that RAY_ADDRESS names), or the local worker pool."""
    workers: Common[Annotated[int | None, tyro.conf.arg(aliases=["--num-workers"])]] = None
    """The largest number of workers; as many as the cores allow when not given."""
    single_writer: bool = False
    """No other command writes at the same time: for object stores that cannot refuse to replace an object."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RequestError(f"--workers must be at least 1, not {self.workers}")

    def for_reading(self, shards: int) -> Engine:
        """The engine to read so many shards with: starting a Ray takes longer than reading a few."""
        return "local" if shards <= FEW and "RAY_ADDRESS" not in os.environ else self.engine


def execute(command: Command, verbose: bool = False) -> int:
    """Run a command and print how it ended. Returns the exit code.

    verbose: print the traceback of an unexpected error.
    """
    with divert_prints() as stdout:
        try:
            with single_writer(command), restore_interrupts():
                summary = command.run()
        except RequestError as error:
            return refuse(str(error), WRONG)
        except IncompleteError as error:
            return refuse(str(error), INCOMPLETE)
        except KeyboardInterrupt:
            return refuse("interrupted; the same command continues from here", INTERRUPTED)
        except OSError as error:
            full = describe_full_disk(error)
            return refuse(full or describe_os_error(error), INCOMPLETE if full else WRONG)
        except Exception as error:
            return refuse(SMALL_GPU, INCOMPLETE) if is_small_gpu(error) else report_fault(error, verbose)
        for problem in summary.problems:
            terminal.error(show_plain(problem))
        if command.json:
            record = null_not_finite({**summary.record, "problems": summary.problems})
            line = hide_secrets(json.dumps(record, sort_keys=True, allow_nan=False))
        else:
            line = "\n".join(map(show_plain, summary.line.split("\n")))
        kept.info(line)
        if not summary.silent and (hindered := print_summary(line, stdout)):
            return refuse(hindered, INCOMPLETE)
        return INCOMPLETE if summary.problems else DONE


@contextmanager
def single_writer(command: Command) -> Iterator[None]:
    """Pass the command's --single-writer on to the stores that it opens and the processes that it starts."""
    fields = (command, *vars(command).values())
    if not any(getattr(field, "single_writer", False) for field in fields) or SINGLE_WRITER in os.environ:
        yield
        return
    os.environ[SINGLE_WRITER] = "1"
    try:
        yield
    finally:
        del os.environ[SINGLE_WRITER]


def refuse(line: str, code: int) -> int:
    """Print in one line why a command ends. Returns its exit code."""
    terminal.error(f"t2i-shards: {show_plain(line)}")
    return code


def report_fault(error: Exception, verbose: bool) -> int:
    """Report an error that is the program's own. Returns the exit code. verbose: print the traceback first."""
    kept.error("", exc_info=error)
    if verbose:
        lines = "".join(traceback.format_exception(error)).splitlines()
        print(*map(show_plain, lines), sep="\n", file=sys.stderr)
    where = traceback.extract_tb(error.__traceback__)[-1]
    look = "the traceback is above" if verbose else "the same command with -v prints the traceback"
    line = f"{describe_error(error)[:500]} ({Path(where.filename).name}, line {where.lineno})"
    return refuse(f"a fault of t2i-shards: {line}; {look}", FAULT)


def summarise(verb: str, result: RunResult, shards: int) -> Summary:
    """The summary of a job over `shards` shards; `result` is what this run did."""
    dropped = {column: dict(reasons) for column, reasons in result.drops.items() if reasons}
    parts = [f"{column} {number_of(count, 'sample')}" for column, count in result.samples.items()]
    for column, reasons in dropped.items():
        parts.append(f"{column} dropped {sum(reasons.values())} ({list_counts(reasons)})")
    done = (
        f"{shards - len(result.quarantined)} of {number_of(shards, 'shard')} done, {len(result.made)} of them now"
    )
    line = f"{verb}: {'; '.join([done, *parts])}; {result.seconds:.1f} s"
    record = {
        "command": verb,
        "shards": shards,
        "made": len(result.made),
        "samples": dict(result.samples),
        "drops": dropped,
        "seconds": round(result.seconds, 3),
    }
    return Summary(line, record, tuple(result.problems))
