"""Turn two or more folders of pictures into datasets with conditions, as one Ray job; the same job continues.

    ray job submit --address http://HEAD:8265 --working-dir . -- \
        python examples/ray_two_folders.py /shared/holidays /shared/birds --out /shared/data --conditions sketch

Each folder becomes a dataset of its own, which `t2i-shards train /shared/data/holidays /shared/data/birds` reads
together. All shards of a folder are spread over the cluster, so the folders are done one after the other.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from t2i_shards.jobs.__main__ import run

DONE, INCOMPLETE = 0, 3


def main(words: list[str] | None = None) -> int:
    """The worst exit code of the commands. A folder that is not complete does not keep the others waiting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="folders of pictures with captions, the same on every node")
    parser.add_argument("--out", required=True, help="where the datasets go: a folder, or s3://bucket/prefix")
    parser.add_argument("--conditions", nargs="+", default=["sketch"])
    parser.add_argument("--variant", default="default", help="the extractors' variant; mini needs no download")
    parser.add_argument("--size", default="512")
    arguments = parser.parse_args(words)
    worst = DONE
    for folder in arguments.folders:
        root = f"{arguments.out}/{Path(folder).name}"
        extract = ["extract", root, "--conditions", *arguments.conditions, "--variant", arguments.variant]
        for command in (["ingest", "folder", folder, "--out", root, "--size", arguments.size], extract):
            code = run(command)
            worst = max(worst, code)
            if code not in (DONE, INCOMPLETE):
                return code
    return worst


if __name__ == "__main__":
    sys.exit(main())
