"""The guard: fetches a URL for urllib (and so for img2dataset) within the limits, or says in a phrase why not."""

from __future__ import annotations

import ssl
import time
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

from t2i_shards.pipeline.download.backoff import back_off
from t2i_shards.pipeline.download.connection import open_connection
from t2i_shards.pipeline.download.deadline import Budget, Deadline
from t2i_shards.pipeline.download.dns import LookUps, Resolver, ask_system
from t2i_shards.pipeline.download.hosts import Host, Hosts
from t2i_shards.pipeline.download.limits import NAME, Limits, user_agent
from t2i_shards.pipeline.download.public_address import Allowed
from t2i_shards.pipeline.download.reasons import (
    ADDRESS,
    METHOD,
    ROBOTS_TXT,
    TOO_MANY_REDIRECTS,
    URL,
    FetchError,
    is_retried,
)
from t2i_shards.pipeline.download.response import REDIRECTS, Response, read_response, send_request
from t2i_shards.pipeline.download.robots import ROBOTS_BYTES, read_robots
from t2i_shards.pipeline.download.url import URL_LENGTH, Url, parse_url

ROBOTS_HOPS = 5
"""Redirects that are followed to a robots.txt (RFC 9309, section 2.3.1.2)."""
HOPS = 3
"""Redirects that are followed. From https to http too: a picture is no secret, nothing of ours travels along, and
what it has to be is for its digest to say."""


class GuardedClient:
    """Fetches within limits, from many threads at once; one per worker process.

    resolver: host -> addresses, the system's when None.
    """

    def __init__(self, limits: Limits, resolver: Resolver | None = None) -> None:
        self._limits = limits
        self._allowed = Allowed(limits.allow_private)
        self._hosts = Hosts(limits.host_connections)
        self._look_up = LookUps(resolver or ask_system)
        self._tls = ssl.create_default_context()
        self._user_agent = user_agent()
        self._budget = Budget(limits)

    def install(self) -> None:
        """Put every urllib request of this process under the guard."""
        urllib.request.install_opener(_Opener(self))

    def begin_shard(self) -> None:
        """A new shard: its bytes and seconds are whole again. What is known of hosts stays."""
        self._budget = Budget(self._limits)

    def fetch(self, url: str) -> bytes:
        """The bytes behind `url`. FetchError with the reason when there are none."""
        body = self.open(url).read()
        self.forget(len(body))
        return body

    def forget(self, size: int) -> None:
        """The body of an answer, of `size` bytes, is no longer in memory, which others may use."""
        self._budget.give_back(size)

    def open(self, request: urllib.request.Request | str, timeout: Any = None) -> Response:
        """The answer to a GET, its body whole; `forget` it after use. FetchError when there is none.

        timeout: seconds in all, when fewer than the limits'. The request's own headers are not sent.
        """
        if isinstance(request, urllib.request.Request):
            if request.get_method() != "GET":
                raise FetchError(METHOD)
            request = request.full_url
        seconds = self._limits.url_seconds
        if isinstance(timeout, int | float):
            seconds = min(seconds, timeout)
        deadline = Deadline(seconds, self._budget)
        deadline.budget.check()
        return self._follow(request, deadline, self._limits.picture_bytes, picture=True)

    def _follow(self, url: str, deadline: Deadline, cap: int, picture: bool) -> Response:
        for _ in range((HOPS if picture else ROBOTS_HOPS) + 1):
            target = parse_url(url, self._limits.ports)
            with self._hosts.use(target.host) as host:
                if picture and self._limits.robots:
                    self._ask_robots(target, host, deadline)
                answer = self._persist(target, host, deadline, cap, picture)
            if answer.status not in REDIRECTS:
                return answer
            url = _join(target.url, answer.headers["Location"])
        raise FetchError(TOO_MANY_REDIRECTS)

    def _persist(self, target: Url, host: Host, deadline: Deadline, cap: int, picture: bool) -> Response:
        """Try, and try again where that may help; a wait holds none of the host's connections."""
        attempt = 1
        while True:
            addresses = self._addresses(target, host, deadline)
            try:
                with host.connection(deadline):
                    return self._try(target, addresses, deadline, cap, picture)
            except FetchError as error:
                if error.wait is not None:
                    host.rest(error.wait, error.reason)
                wait = back_off(attempt) if error.wait is None else error.wait
                if attempt >= self._limits.attempts or not is_retried(error.reason) or not deadline.fits(wait):
                    raise
                if error.wait is None:  # else the host's rest is sat out before the next connection
                    time.sleep(wait)
            attempt += 1

    def _try(self, target: Url, addresses: list[str], deadline: Deadline, cap: int, picture: bool) -> Response:
        connection = open_connection(target, addresses, deadline, self._tls)
        try:
            return read_response(
                send_request(connection, target, self._user_agent), connection, target.url, cap, deadline, picture
            )
        finally:
            connection.close()

    def _addresses(self, target: Url, host: Host, deadline: Deadline) -> list[str]:
        return list(host.addresses.get(lambda: self._checked(target, deadline), deadline))

    def _checked(self, target: Url, deadline: Deadline) -> list[str]:
        """The addresses of a host, every one of which may be reached."""
        found = [target.host] if target.is_address else list(self._look_up(target.host, deadline))
        if not all(self._allowed.may_reach(target.host, address) for address in found):
            raise FetchError(ADDRESS)
        return found

    def _ask_robots(self, target: Url, host: Host, deadline: Deadline) -> None:
        origin = f"{target.scheme}://{target.authority}"

        def fetch() -> Response:
            return self._follow(f"{origin}/robots.txt", deadline, ROBOTS_BYTES, picture=False)

        rules = host.robots(origin).get(lambda: read_robots(fetch), deadline)
        if not rules.can_fetch(target.url, NAME):
            raise FetchError(ROBOTS_TXT)


class _Opener(urllib.request.OpenerDirector):
    """Takes urllib's place for a request as a whole: no handler, and so no proxy, cookie, password or file."""

    def __init__(self, client: GuardedClient) -> None:
        super().__init__()
        self._client = client

    def open(self, fullurl: Any, data: Any = None, timeout: Any = None) -> Any:
        if data is not None:
            raise FetchError(METHOD)
        return self._client.open(fullurl, timeout)


def _join(base: str, location: str) -> str:
    """Where a redirect leads. Headers are read as Latin-1; servers mean UTF-8. FetchError for one too long."""
    if len(location) > URL_LENGTH:
        raise FetchError(URL)
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(base, location.strip())
    except ValueError:
        return location
