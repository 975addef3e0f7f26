"""The wheel, installed where neither the checkout nor anything editable is."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`t2i-shards` of a new environment that holds the wheel. The packages it needs are read from this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_checkout(folder / "source")  # where the build may leave its files
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("t2i_shards-*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    subprocess.run([*pip, "--python", environment / "bin/python", "install", *offline, wheel], check=True)
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    return environment / "bin" / "t2i-shards"


def copy_checkout(folder: Path) -> Path:
    """The four packages, the links to them, and what the wheel says of itself."""
    for name in ("adapters", "extractors", "jobs", "pipeline", "t2i_shards"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
def test_what_the_wheel_asks_for_suffices(oldest: bool, tmp_path: Path) -> None:
    """It is all that an empty environment is given, in the newest or in the oldest versions that it allows. The
    newest torch is that of requirements.txt, as each brings gigabytes."""
    uv = REPOSITORY / ".ci" / "uv"
    run(uv, "build", "--wheel", "--out-dir", tmp_path, copy_checkout(tmp_path / "source"))
    (wheel,) = tmp_path.glob("t2i_shards-*.whl")
    run(uv, "venv", "--python", sys.executable, tmp_path / "environment")
    python, command = tmp_path / "environment/bin/python", tmp_path / "environment/bin/t2i-shards"
    torch = re.findall(r"^torch(?:vision)?==\S+", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    extras = ("openmmlab", "publish", "report")
    (tmp_path / "versions.txt").write_text("\n".join(find_oldest(extras, python) if oldest else torch))
    install = [uv, "pip", "install", "--python", python, "--constraint", tmp_path / "versions.txt"]
    run(*install, wheel)
    make_conditions(command, tmp_path)
    run(*install, f"{wheel}[{','.join(extras)}]")
    run(*install, "--no-deps", "mmpose==1.3.2")
    run(command, "publish", tmp_path / "root", "--to", tmp_path / "published", "--engine", "local")
    demo = tmp_path / "demo"
    run(command, "demo", "--out", demo, "--samples", "20", "--steps", "3", "--engine", "local")
    assert (demo / "report.png").exists()


def find_oldest(extras: Sequence[str], python: Path) -> list[str]:
    """NAME==VERSION of all that is installed where everything that pyproject.toml names has its lowest version."""
    options = [word for extra in extras for word in ("--extra", extra)]
    given = ("--resolution", "lowest-direct", "--no-header", "--no-annotate", "--python", python)
    uv, project = REPOSITORY / ".ci" / "uv", REPOSITORY / "pyproject.toml"
    found = run(uv, "pip", "compile", "--quiet", project, *given, *options).splitlines()
    asked = tomllib.loads(project.read_text())["project"]
    for line in chain(asked["dependencies"], *(asked["optional-dependencies"][extra] for extra in extras)):
        if bound := re.match(r"([a-z0-9-]+)(?:\[.*\])?[>=]=([\d.]+)", line):
            name, version = bound.groups()
            oldest = [other for other in found if re.match(rf"{name}=={re.escape(version)}(\.|$)", other)]
            assert oldest, f"{line}: this very version was to be tried, and another package asks for a newer one"
    return found


def run(*words: str | Path) -> str:
    """What a command prints that has no other way to the checkout, as other tests leave in PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=Path(words[0]).parent, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pictures_become_shards_with_conditions(command: Path, tmp_path: Path) -> None:
    make_conditions(command, tmp_path)


def make_conditions(command: Path, folder: Path) -> None:
    """Ingest and extract, from pictures in a folder of `folder`, and look at what was made."""
    pictures, root = folder / "pictures", folder / "root"
    pictures.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (80, 64), "teal").save(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_text("a picture in teal")
    local = ("--engine", "local", "--workers", "1")
    run(command, "ingest", "folder", pictures, "--out", root, "--size", "64", *local)
    run(command, "extract", root, "--conditions", "color", "canny", *local)
    assert "t2i-shards 0.1.0" in run(command, "--version")
    assert {path.parent.name for path in root.rglob("*.tar")} == {"images", "color", "canny"}


def test_it_is_the_wheel_that_runs(command: Path) -> None:
    script = "import t2i_shards.jobs.commands as m; print(m.__file__)"
    found = run(command.parent / "python", "-P", "-c", script)
    assert Path(found.strip()).is_relative_to(command.parents[1])
