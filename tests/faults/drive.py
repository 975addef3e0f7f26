"""`python -m tests.faults.drive extract ROOT ...`: the command as a user runs it, with the toy known.

A driver that a test can kill, run twice at once, or give a full disk. The work is logged, see toys.Logged.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.command import WRONG, refuse
from t2i_shards.pipeline.errors import RequestError
from tests.faults.toys import Logged, register, shrink_roll_ups

CHECKOUT = Path(__file__).parents[2]


def start(command: str, root: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The driver as a process; the options are those of `main`."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.drive", command, os.fspath(root), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        process_group=0,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "RAY_USAGE_STATS_ENABLED": "0"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def drive(command: str, root: str | Path, **options: Any) -> tuple[int, str, str]:
    return finish(start(command, root, **options))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("root")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--variant", default="default")
    parser.add_argument("--condition", default="toy")
    parser.add_argument("--log", default="")
    parser.add_argument("--meeting", default="", help="a folder where two workers await each other")
    parser.add_argument("--linger", type=float, default=0.0, help="seconds that every shard takes besides")
    parser.add_argument("--thousand", type=int, default=0, help="shards of a roll-up")
    parser.add_argument("--folder", default="")
    parser.add_argument("--shard-size", type=int, default=4)
    parser.add_argument("--to", default="", help="where `publish` publishes")
    parser.add_argument("--layout", default="packed")
    parser.add_argument("--max-file", type=int, default=0, help="bytes that a file may have, as a quota sets it")
    options = parser.parse_args()
    if options.max_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.max_file, options.max_file))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without
    register()
    if options.thousand:
        shrink_roll_ups(pytest.MonkeyPatch(), options.thousand)
    try:
        return _execute(options)
    except RequestError as error:  # options check themselves as they are made, as in jobs.__main__
        return refuse(str(error), WRONG)


def _execute(options: argparse.Namespace) -> int:
    import t2i_shards.jobs.extract
    import t2i_shards.jobs.fill
    from t2i_shards.jobs.command import EngineOptions, execute
    from t2i_shards.jobs.ingest import IngestFolder
    from t2i_shards.jobs.ingest_flow import IngestOptions
    from t2i_shards.jobs.publish import PublishCommand
    from t2i_shards.jobs.status import StatusCommand
    from t2i_shards.jobs.verify import VerifyCommand
    from t2i_shards.pipeline.engine import RunResult, run
    from t2i_shards.pipeline.image.geometry import Geometry
    from t2i_shards.pipeline.publish import Publication
    from t2i_shards.pipeline.stages.stage import Stage

    noted = (options.log or os.devnull, options.meeting, options.linger)

    def run_logged(stage: Stage, *rest: Any, **options: Any) -> RunResult:
        return run(Logged(stage, *noted), *rest, **options)

    t2i_shards.jobs.fill.run = run_logged  # type: ignore[attr-defined]
    engine = EngineOptions(options.engine, options.workers)
    if options.command == "ingest":
        where = IngestOptions(options.root, options.shard_size)
        return execute(IngestFolder(folder=options.folder, options=where, geometry=Geometry(64), engine=engine))
    if options.command == "status":
        return execute(StatusCommand(options.root))
    if options.command == "verify":
        return execute(VerifyCommand(options.root, engine))
    if options.command == "publish":
        asked = Publication(layout=options.layout, shard_size=options.shard_size)
        return execute(PublishCommand(options.root, options.to, asked, readers=(), engine=engine))
    conditions = tuple(options.condition.split(","))
    return execute(
        t2i_shards.jobs.extract.ExtractCommand(
            options.root, conditions, options.variant, device="cpu", engine=engine
        )
    )


if __name__ == "__main__":
    sys.exit(main())
