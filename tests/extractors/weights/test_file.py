import os
import threading
from pathlib import Path

import pytest

from t2i_shards.extractors.records import BadRecord
from t2i_shards.extractors.weights import file as locks
from t2i_shards.extractors.weights.file import lock, lock_converted, read_lock


def test_the_first_digest_stays(tmp_path: Path) -> None:
    path = tmp_path / "family" / "net.lock"
    assert read_lock(path) == {}
    assert [lock(path, digest) for digest in ("aa", "bb", "aa")] == ["aa", "aa", "aa"]
    lock_converted(path, "aa", "cc")
    assert read_lock(path) == {"sha256": "aa", "converted": "cc"}
    assert lock(path, "bb") == "aa"
    assert os.listdir(path.parent) == ["net.lock"]


@pytest.mark.parametrize("data", ["{}", '{"converted": "cc"}', '{"sha256": ""}', '{"sha256": 1}', "[]", ""])
def test_a_lock_that_locks_nothing_is_refused(data: str, tmp_path: Path) -> None:
    """It would let any file pass as the first one."""
    (tmp_path / "net.lock").write_text(data)
    with pytest.raises(BadRecord, match=r"net\.lock: must .*; without it, the next weight file"):
        read_lock(tmp_path / "net.lock")


def test_of_two_who_lock_at_once_both_hear_of_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, both_looked, heard = tmp_path / "net.lock", threading.Barrier(2), []
    look = locks.read_lock

    def look_together(path: Path) -> dict[str, str]:
        found = look(path)
        if not found:
            both_looked.wait(10)
        return found

    monkeypatch.setattr(locks, "read_lock", look_together)
    threads = [threading.Thread(target=lambda d=d: heard.append(lock(path, d))) for d in ("aa", "bb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 2
    assert set(heard) == {look(path)["sha256"]}
