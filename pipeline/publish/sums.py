"""SHA256SUMS, as `sha256sum` writes and checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from t2i_shards.pipeline.errors import DamagedShard

LINE = re.compile("([0-9a-f]{64})  (.+)")


def sum_lines(sums: Mapping[str, str]) -> bytes:
    """The file's bytes. sums: path -> sha256 in hexadecimal."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def read_sums(data: bytes | memoryview) -> dict[str, str]:
    """What `sum_lines` was given. Raises DamagedShard."""
    sums = {}
    for line in bytes(data).decode("utf-8", "replace").splitlines():
        if not (found := LINE.fullmatch(line)):
            raise DamagedShard(f"SHA256SUMS: a line must be a sha256, two spaces and a path, not {line[:100]!r}")
        sums[found[2]] = found[1]
    return sums
