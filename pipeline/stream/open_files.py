"""How many files a process may have open: a reader of many lanes has hundreds of shards open at once."""

from __future__ import annotations

import logging
import resource

SPARE = 256
"""Files that are open for other reasons."""

log = logging.getLogger(__name__)


def allow_files(count: int) -> None:
    """Raise this process's limit, and that of the processes it starts, as far as the system lets it.

    Says in a line where `count` files are more than that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning(
            "reading may need %d open files, and this process may have %d: "
            "raise the limit (ulimit -Hn), or use fewer lanes",
            wanted,
            most,
        )
