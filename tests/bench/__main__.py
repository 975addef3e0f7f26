"""`make bench`: every comparison, side by side in one run, as a table of ratios."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import table

CASES = (
    "scenes",
    "left",
    "opening",
    "reading",
    "stream",
    "processes",
    "engine",
    "download",
    "chroma",
    "sketch",
    "five",
    "training",
    "latents",
    "publish",
)


def main(names: list[str]) -> None:
    """Run the named cases, or all."""
    rows = []
    for name in names or CASES:
        with tempfile.TemporaryDirectory(prefix="t2i-shards-bench-") as folder:
            rows += importlib.import_module(f"tests.bench.{name}").bench(Path(folder))
        print(f"{name} done", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
