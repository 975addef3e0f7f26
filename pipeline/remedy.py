"""The way out where a file of a dataset, a publication or a run is damaged: what to delete or restore."""

from __future__ import annotations

import re

COPY = "restore it from a copy"
WAYS = {
    r"(.*/)?dataset\.json": f"{COPY}, or delete it and run the same ingest again",
    r"(.*/)?[a-z0-9_-]+/column\.json": f"{COPY}, or delete it and run the command that made the column again",
    r"(.*/)?images/\d+\.rows\.parquet": f"{COPY}, or delete it and its shard's receipt (images/NUMBER.json), "
    "and run the same ingest again",
    r"(.*/)?plan/(left_out|notes)\.json": "delete it; status then no longer tells these counts",
    r"(.*/)?plan/left_out/.*": "delete the folder plan/left_out; status then no longer names these files",
    r"(.*/)?plan/\d+\.(parquet|erased\.json)": COPY,
    r"(.*/)?(supplements/\d+\.json|revisions/\d+\.json|tombstones/\d+\.parquet)": COPY,
    r"(.*/)?[a-z0-9_-]+/(\d+/)?\d+\.json": f"{COPY}, or delete it and run the command that made the column again",
    r"(.*/)?publish\.json": f"{COPY}, or publish to another --to",
    r"(.*/)?receipts/[^/]+\.json": "delete it and publish again",
    r"(.*/)?manifest\.jsonl": "delete it and publish again",
    r"(.*/)?(run|extents)\.json": f"{COPY}, or begin another --out",
    r"(.*/)?held_out\.json": f"{COPY}, or delete it and run the same train again",
    r"(.*/)?summary\.json": "delete it; the same train writes it again",
    r"(.*/)?evaluation\.json": "delete it and run the same evaluate again",
}
"""Pattern of a path -> what to do. The first that fits counts."""


def tell_damage(path: str, reason: str) -> str:
    """One line: the file, what is wrong with it, and the way out where there is one that always works."""
    way = next((way for pattern, way in WAYS.items() if re.fullmatch(pattern, path)), None)
    return f"{path}: {reason}; {way}" if way else f"{path}: {reason}"
