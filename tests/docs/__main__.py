"""`python -m tests.docs [PAGE ...]`: run every command and snippet of README and docs as written.

Each page has a fresh folder and an empty home, those of IN_CLONE a fresh clone; what the page takes for granted is
made first. The tests run docs/python.md and docs/data.md (`make docs` runs those two first). Ends with 1 when a
command fails, with its output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.docs.inputs import JPEG, write_photographs
from tests.docs.pages import HOME, PAGES, Snippet, read_snippets
from tests.docs.scratch import end_by_signals, make_scratch, run_whole

IN_TESTS = {"python.md": "tests/test_docs.py", "data.md": "tests/jobs/test_data_page.py"}
IN_CLONE = ("README.md", "installing.md")
SUITES = ("make test",)
"""Commands that are suites of their own."""
SCENES = "t2i-shards ingest scenes --world simple --samples 48 --size 128 --truth sketch --engine local --out"
RUN = "t2i-shards train scenes --condition sketch --base mini --steps 2 --batch 4 --size 128 --threads 1 --out RUN"
BASE = "cp -rL \"$(python -c 'from t2i_shards.adapters.base.mini import find_mini; print(find_mini())')\" DIR"
TEN = "cd my/photographs && for n in $(seq 9); do for end in jpg txt; do cp photo.$end $n.$end; done; done"
BEFORE = {
    "README.md": [TEN],
    "cluster.md": [f"{SCENES} data/photos"],
    "command-line.md": [
        f"{SCENES} scenes",
        RUN,
        "t2i-shards ingest folder my/photographs --out ROOT --size 128 --engine local",
        "t2i-shards extract ROOT --conditions sketch --variant mini --engine local",
        "t2i-shards publish ROOT --to PUBLISHED --engine local",
    ],
    "conditions.md": [
        SCENES.replace("--truth sketch", "--seed 0") + " ROOT",
        BASE,
        "mkdir -p my",
        "mv DIR my/base",
    ],
    "first.md": [TEN],
    "publishing.md": [f"{SCENES} ROOT", "echo 000000001 > FILE"],
    "use.md": [f"{SCENES} scenes", RUN, "mv scenes ROOT", BASE],
}
"""Page -> what is done before its commands."""


def main(names: list[str]) -> int:
    known = {page.name for page in PAGES} - IN_TESTS.keys()
    if unknown := set(names) - known:
        print(f"docs: no page {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        return 2
    failed, skipped = [], 0
    for page in PAGES:
        if page.name in IN_TESTS or (names and page.name not in names):
            continue
        snippets = read_snippets(page)
        left_out = [of for of in snippets if of.unrun or of.text in SUITES]
        skipped += len(left_out)
        for of in left_out:
            print(f"{of.page}:{of.line}: not run ({of.unrun or 'a suite of its own'}): {of.text}", flush=True)
        todo = [of for of in snippets if of not in left_out]
        if todo:
            failed += _run_page(page.name, todo)
    for line in failed:
        print(line)
    print(f"docs: {len(failed)} failed, {skipped} not run as they are marked or are schematic")
    return 1 if failed else 0


def _run_page(page: str, snippets: list[Snippet]) -> list[str]:
    with make_scratch() as scratch:
        folder, home = scratch / "page", scratch / "home"
        home.mkdir()
        if page in IN_CLONE:
            subprocess.run(["git", "clone", "--quiet", str(HOME), str(folder)], check=True)
        else:
            folder.mkdir()
        write_photographs(folder)
        for name in ("photo.jpg", "map.png", "house.png", "door.png", "data/picture.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(JPEG)
        for command in BEFORE.get(page, ()):
            if error := _run(command, folder, home):
                return [f"{page}: before its commands: {command}: {error}"]
        shell = [of for of in snippets if of.kind == "shell"]
        failed = [
            f"{of.page}:{of.line}: {of.text}: {error}" for of in shell if (error := _run(of.text, folder, home))
        ]
        # One page's blocks build on one another.
        if python := "\n".join(of.text for of in snippets if of.kind == "python"):
            (folder / "snippets.py").write_text(python)
            if error := _run("python snippets.py", folder, home):
                failed.append(f"{page}: its Python: {error}")
        return failed


def _run(command: str, folder: Path, home: Path) -> str | None:
    """How a command ended, if it failed; what it printed is shown."""
    own = folder / ".venv/bin"
    path = f"{own if own.is_dir() else HOME / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HF_", "XDG_"))}
    cache = {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))}
    env = {**kept, **cache, "PATH": path, "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    begun = time.monotonic()
    code, said = run_whole([shutil.which("bash") or "bash", "-euo", "pipefail", "-c", command], folder, env)
    print(f"{'FAIL' if code else 'ok  '} {time.monotonic() - begun:6.1f} s  {command}", flush=True)
    if code == 0:
        return None
    print(said[-3000:], flush=True)
    return f"ended with {code}"


if __name__ == "__main__":
    end_by_signals()
    sys.exit(main(sys.argv[1:]))
