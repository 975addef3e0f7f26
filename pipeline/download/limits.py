"""How far a download may go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_network

from t2i_shards.pipeline.errors import RequestError

NAME = "t2i-shards"
"""What robots.txt and X-Robots-Tag may call us."""

_NAME = re.compile(r"(?!.*\.\.)[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?")


def user_agent() -> str:
    """NAME/version, the User-Agent of every request."""
    try:
        return f"{NAME}/{version(NAME)}"
    except PackageNotFoundError:  # run from a checkout
        return f"{NAME}/0"


@dataclass(frozen=True)
class Limits:
    """How far a download may go."""

    picture_bytes: int = 32 << 20
    """Bytes a picture may have as it is sent."""
    url_seconds: float = 30.0
    """Seconds for one URL in all: name look-up, connections, redirects, waits, second tries, every byte."""
    shard_bytes: int = 8 << 30
    """Bytes that may come in for one shard."""
    shard_seconds: float = 3600.0
    """Seconds that the downloads of one shard may take."""
    host_connections: int = 8
    """Connections at once to one host, per worker."""
    attempts: int = 2
    """Times that a request which failed in a passing way (5xx, 429, cut off) is made, within --url-seconds."""
    ports: tuple[int, ...] = (80, 443)
    """Ports a URL may name."""
    robots: bool = False
    """Ask each host's robots.txt and leave out what it closes to us (one more request per host)."""
    allow_private: tuple[str, ...] = ()
    """Host names, addresses or networks (10.0.0.0/8) to be reached although they are not public: for a picture
    server of one's own. Whoever wrote the URLs can then reach them too."""

    def __post_init__(self) -> None:
        for name in ("picture_bytes", "shard_bytes", "host_connections", "attempts"):
            _require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        for name in ("url_seconds", "shard_seconds"):
            _require(0 < getattr(self, name) <= 1e6, name, "lie above 0 and below 1e6", getattr(self, name))
        _require(bool(self.ports), "ports", "name a port", self.ports)
        for port in self.ports:
            _require(1 <= port <= 65535, "ports", "lie in 1..65535", port)
        for entry in self.allow_private:
            known = is_network(entry) or _NAME.fullmatch(entry.lower()) is not None
            _require(known, "allow_private", "be host names, addresses or networks such as 10.0.0.0/8", entry)


def is_network(text: str) -> bool:
    """True for an address or a network in its plain form."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise RequestError(f"--{name.replace('_', '-')} must {rule}, not {value!r}")
