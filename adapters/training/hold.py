"""One process at a time trains a run."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from t2i_shards.adapters.run_folder import RECORD
from t2i_shards.pipeline.errors import RequestError

LOCK_SECONDS, PAUSE = 5.0, 0.1
"""Seconds for which a run that another process holds is waited for, and between two tries."""

log = logging.getLogger(__name__)


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Be the only process that writes to a run which was begun. RequestError while another one is.

    The kernel takes the lock back from a process that dies.
    """
    with (run / RECORD).open("r+b") as record:  # writable: over NFS only such a file can be locked
        for tries in count(1):
            try:
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Workers that are just being ended may hold it for a moment.
                if tries * PAUSE > LOCK_SECONDS:
                    raise RequestError(
                        f"another train is running in {run}: wait until it ends, or give another --out"
                    ) from None
                time.sleep(PAUSE)
            except OSError as error:
                log.warning("%s cannot be locked, so see that no other train writes to it: %s", run, error)
                break
        yield
