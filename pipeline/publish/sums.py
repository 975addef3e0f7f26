"""SHA256SUMS, as `sha256sum` writes and checks it."""

from __future__ import annotations

from collections.abc import Mapping


def sum_lines(sums: Mapping[str, str]) -> bytes:
    """The file's bytes. sums: path -> sha256 in hexadecimal."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def read_sums(data: bytes | memoryview) -> dict[str, str]:
    """What `sum_lines` was given."""
    pairs = (line.split("  ", 1) for line in bytes(data).decode().splitlines())
    return {path: digest for digest, path in pairs}
