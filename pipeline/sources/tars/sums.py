"""The digests that a set of tars may come with: a file SHA256SUMS, as sha256sum writes it."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from typing import BinaryIO

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern

SUMS = "SHA256SUMS"
SUMS_BYTES = 64 << 20
BLOCK = 4 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_sums(tars: Pattern) -> Mapping[str, str]:
    """name below the base of the tars -> sha256, from the folder of the tars and the one above it, if they say."""
    sums: dict[str, str] = {}
    for folder, prefix in ((posixpath.dirname(tars.base), posixpath.basename(tars.base) + "/"), (tars.base, "")):
        try:
            with Pattern(f"{folder}/{SUMS}", (SUMS.lower(),)).open(SUMS) as file:
                text = file.read(SUMS_BYTES).decode("utf-8", "replace")
        except (OSError, RequestError):  # none, or none that we may read: most sets have none
            continue
        for line in text.splitlines():
            if (found := _LINE.fullmatch(line)) and found[2].startswith(prefix):
                sums[found[2].removeprefix(prefix)] = found[1]
    return sums


def check_sum(file: InputFile, tar: BinaryIO, sums: Mapping[str, str]) -> None:
    """Raises RequestError for a tar whose bytes are not those of its digest; one without a digest passes."""
    if (wanted := sums.get(file.name)) is None:
        return
    hashed = hashlib.sha256()
    while data := tar.read(BLOCK):
        hashed.update(data)
    if hashed.hexdigest() != wanted:
        raise RequestError(
            f"{file.path}: must have sha256 {wanted}, as {SUMS} has it, and has {hashed.hexdigest()}; "
            "fetch it again"
        )
    tar.seek(0)
