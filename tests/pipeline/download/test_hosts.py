"""What is remembered of hosts, and for how long."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.download import hosts as hosts_module
from t2i_shards.pipeline.download.deadline import Budget, Deadline
from t2i_shards.pipeline.download.hosts import Hosts, TtlValue
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import TIMED_OUT, FetchError


def deadline(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, Budget(Limits()))


def test_not_every_host_is_remembered() -> None:
    hosts = Hosts(8)
    for number in range(20_000):
        with hosts.use(f"{number}.example"):
            pass
    assert len(hosts) <= hosts_module.KEPT


def test_the_last_asked_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "KEPT", 2)
    hosts = Hosts(8)
    for name in ("a", "b"):
        with hosts.use(name) as host:
            host.rest(60, f"told by {name}")
    for name in ("a", "c"):
        with hosts.use(name):
            pass
    with hosts.use("a") as a, pytest.raises(FetchError, match="told by a"), a.connection(deadline()):
        pass
    with hosts.use("b") as b, b.connection(deadline()):
        pass


def test_a_host_in_use_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or two would count its connections."""
    monkeypatch.setattr(hosts_module, "KEPT", 1)
    hosts = Hosts(1)
    with hosts.use("a") as a, hosts.use("b"), hosts.use("c"), hosts.use("a") as again:
        assert again is a


def test_a_longer_rest_outlasts_a_shorter_one() -> None:
    with Hosts(1).use("a") as host:
        host.rest(60, "http 429")
        host.rest(1, "http 503")
        with pytest.raises(FetchError, match="http 429"), host.connection(deadline()):
            pass


def test_a_connection_comes_back_whatever_happens() -> None:
    with Hosts(1).use("a") as host:
        for _ in range(3):
            with pytest.raises(FetchError), host.connection(deadline()):
                raise FetchError("cut off")


def test_a_value_is_made_once_and_its_error_too() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    def fail() -> int:
        made.append(1)
        raise FetchError("name not resolved")

    fresh = TtlValue[int](60)
    assert [fresh.get(make, deadline()) for _ in range(3)] == [1, 1, 1]
    failed = TtlValue[int](60)
    for _ in range(3):
        with pytest.raises(FetchError, match="name not resolved"):
            failed.get(fail, deadline())
    assert len(made) == 2


def test_a_timeout_of_the_maker_is_not_kept_for_others() -> None:
    def fail() -> int:
        raise FetchError(TIMED_OUT)

    fresh = TtlValue[int](60)
    with pytest.raises(FetchError, match=TIMED_OUT):
        fresh.get(fail, deadline())
    assert fresh.get(lambda: 7, deadline()) == 7
