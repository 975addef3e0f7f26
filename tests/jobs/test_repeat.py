from __future__ import annotations

import threading

from t2i_shards.jobs.repeat import repeat


def test_it_is_done_until_the_block_ends_and_not_after() -> None:
    often, calls = threading.Semaphore(0), list[int]()

    def act() -> None:
        calls.append(threading.get_ident())
        often.release()

    with repeat(act, 0.001):
        for _ in range(3):
            assert often.acquire(timeout=60)
    assert threading.get_ident() not in calls
    assert not {thread.ident for thread in threading.enumerate()} & set(calls)
