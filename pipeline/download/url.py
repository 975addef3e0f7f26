"""A URL taken apart once; what is checked here is what is connected to."""

from __future__ import annotations

import functools
import re
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

import idna

from t2i_shards.pipeline.download.reasons import ADDRESS, CREDENTIALS, HOST, PORT, SCHEME, URL, FetchError

URL_LENGTH = 8192
"""Characters of a URL that is asked for; RFC 9110, section 4.1, wants 8000 to be possible."""
DEFAULT_PORTS = {"http": 80, "https": 443}

# urlsplit would quietly take some of these out, so that the checked URL is not the one that was given.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# What the resolver reads as a number: 2130706433, 0x7f000001, 0177.0.0.1, 127.1 (the WHATWG's rule for hosts).
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_SAFE = "!$%&'()*+,/:;=@[]~?"
_PLAIN = re.compile(r"[A-Za-z0-9!$%&'()*+,/:;=@\[\]~?_.-]*")


@dataclass(frozen=True)
class Url:
    """Where a request goes. host: lower case ASCII, a name or an address without brackets; path: with query."""

    scheme: str
    host: str
    port: int
    path: str
    is_address: bool

    @property
    def authority(self) -> str:
        """host[:port] as the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str, ports: Container[int]) -> Url:
    """Take `url` apart. Raises FetchError for one that must not be asked for, whatever its host resolves to.

    Spaces and letters beyond ASCII in path and query are percent-encoded, as browsers do.
    """
    url = url.strip()
    if len(url) > URL_LENGTH or _CONTROL.search(url):
        raise FetchError(URL)
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in DEFAULT_PORTS:
        raise FetchError(SCHEME)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchError(HOST) from None
    if "@" in parts.netloc:
        raise FetchError(CREDENTIALS)
    host, is_address, given_port = _parse_authority(parts.netloc)
    port = DEFAULT_PORTS[scheme] if given_port is None else given_port
    if port not in ports:
        raise FetchError(PORT)
    path = _encode(parts.path) or "/"
    return Url(scheme, host, port, f"{path}?{_encode(parts.query)}" if parts.query else path, is_address)


def _encode(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    try:
        return quote(part, safe=_SAFE)
    except UnicodeError:
        raise FetchError(URL) from None


@functools.lru_cache(maxsize=4096)
def _parse_authority(netloc: str) -> tuple[str, bool, int | None]:
    """Host, whether it is an address, and the port where one is given."""
    parts = urlsplit(f"//{netloc}")
    host, is_address = _parse_host(netloc, parts.hostname or "")
    try:
        return host, is_address, parts.port
    except ValueError:
        raise FetchError(PORT) from None


def _to_ascii(host: str) -> str:
    """The host by UTS 46, not transitional, as browsers have it: not of 2003. Raises UnicodeError."""
    if host.isascii():
        return host.lower()
    labels = idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def _parse_host(netloc: str, host: str) -> tuple[str, bool]:
    """The host in its one form, and whether it is an address."""
    if netloc.startswith("["):
        try:
            address = IPv6Address(host)
        except ValueError:
            raise FetchError(HOST) from None
        if address.scope_id is not None:
            raise FetchError(HOST)
        return str(address), True
    try:
        # Every kind of dot becomes ".", every width and style of digit a plain one.
        name = _to_ascii(host).removesuffix(".")
    except UnicodeError:
        raise FetchError(HOST) from None
    if _NUMBER.fullmatch(name):
        try:
            return str(IPv4Address(name)), True
        except ValueError:
            raise FetchError(ADDRESS) from None
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise FetchError(HOST)
    return name, False
