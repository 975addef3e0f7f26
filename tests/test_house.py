"""The rules of the house that an import can break."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from t2i_shards.extractors.registry import EXTRACTORS, conditions, format_of

HEAVY = {"torch", "ray", "diffusers", "transformers", "img2dataset"}  # seconds each; imported where they are used

REPOSITORY = Path(__file__).parents[1]
NAME = "t2i_shards"  # what an installed wheel and a checkout are imported by; it links to the four packages
ORDER = ["extractors", "pipeline", "adapters", "jobs"]  # each may import those to its left

# package -> the only files (or folders, with a slash) of the four packages that may import it
RESERVED = {
    "ray": [*(f"pipeline/engine/{name}.py" for name in ("agent", "connect", "metrics", "nodes", "ray")), "jobs/"],
    "fsspec": ["pipeline/shards/remote_read.py"],
    "s3fs": ["pipeline/shards/object_store.py"],
    "torch": ["extractors/", "adapters/", "jobs/"],
    **{name: [] for name in ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")},
}

# calls by which a file is written or takes a name -> who may use them; all others use extractors/atomic.py
BY_HAND = {"os.replace", "os.rename", "os.link", "rename", "hardlink_to", "mkstemp", "write_text", "write_bytes"}
BY_HAND_IN = {
    "extractors/atomic.py": "it is the one place",
    "extractors/weights/file.py": "fills what create_file gives it",
    "pipeline/engine/connect.py": "fills what create_file gives it",
    "adapters/model/diffusers_io.py": "fills what commit_folder gives it",
    "pipeline/report/strips.py": "fills what commit_folder gives it",
    "pipeline/shards/folder_store.py": "a Store has its own protocol",
    "pipeline/shards/naming.py": "a Store's files are created, not replaced",
    "pipeline/stream/cache.py": "its files are locked from before they have a name",
    "pipeline/publish/readers.py": "fills a temporary folder",
}


def sources() -> list[str]:
    return sorted(
        path.relative_to(REPOSITORY).as_posix() for name in ORDER for path in (REPOSITORY / name).rglob("*.py")
    )


def imports(tree: ast.AST) -> Iterator[str]:
    """The package of each import, in functions too, and of each `import_module` with a literal.

    That of this project's own is one of the four, `t2i_shards` where none is named.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (package_of(alias.name) for alias in names)
            case ast.ImportFrom(module="t2i_shards", level=0, names=names):
                yield from (package_of(f"{NAME}.{alias.name}") for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield package_of(module)
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]
            ):
                if called in ("import_module", "__import__"):
                    yield package_of(name)


def package_of(module: str) -> str:
    """The top-level package of a module; of this project's own, the one of the four, or `t2i_shards` itself."""
    own = module.removeprefix(f"{NAME}.").partition(".")[0]
    if module.startswith(f"{NAME}."):
        return own if own in ORDER else NAME
    return f"bare {own}" if own in ORDER else own


def broken_rules(path: str, source: str) -> list[str]:
    package = path.partition("/")[0]
    found = set(imports(ast.parse(source, path)))
    to_the_right = ORDER[ORDER.index(package) + 1 :]
    broken = [
        f"{path} imports {name}, which stands to the right of {package}" for name in to_the_right if name in found
    ]
    broken += [f"{path} imports {name} without {NAME}" for name in ORDER if f"bare {name}" in found]
    for name, allowed in RESERVED.items():
        if name in found and not path.startswith(tuple(allowed)):
            broken.append(f"{path} imports {name}, reserved for {allowed or 'nobody'}")
    return broken


@pytest.mark.parametrize("path", sources())
def test_imports_keep_the_rules(path: str) -> None:
    assert not broken_rules(path, (REPOSITORY / path).read_text())


def test_tests_import_by_the_full_name() -> None:
    """A module imported by two names is two modules, with classes of their own."""
    for path in (REPOSITORY / "tests").rglob("*.py"):
        assert not {f"bare {name}" for name in ORDER} & set(imports(ast.parse(path.read_text()))), path


DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "docstring_parser": "docstring-parser",
    "huggingface_hub": "huggingface-hub",
    "pillow_heif": "pillow-heif",
    "skimage": "scikit-image",
    "torch_fidelity": "torch-fidelity",
    "yaml": "pyyaml",
}
"""What a package is called where its import has another name."""
BESIDE = {"mmpose"}
"""What is installed without its dependencies, after an extra that brings those it uses."""


def declared(lines: Iterable[str]) -> set[str]:
    """The distributions that these requirements name."""
    return {re.split(r"[^a-z0-9-]", line.lower(), maxsplit=1)[0] for line in lines}


def test_what_is_imported_is_declared() -> None:
    """For those who install the package without requirements.txt; and that file's own list names it too."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = declared([*project["dependencies"], *chain(*project["optional-dependencies"].values())])
    pinned = declared((REPOSITORY / "requirements.txt").read_text().splitlines())
    found = {name for path in sources() for name in imports(ast.parse((REPOSITORY / path).read_text()))}
    needed = {DISTRIBUTIONS.get(name, name) for name in found - {*ORDER, NAME} - sys.stdlib_module_names}
    assert needed <= asked | BESIDE
    assert needed <= pinned


def files_by_hand(source: str) -> set[str]:
    """The calls in a source that write or rename a file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            found |= {node.func.attr, f"{of.id}.{node.func.attr}" if isinstance(of, ast.Name) else ""}
    return found & BY_HAND


@pytest.mark.parametrize("path", sources())
def test_files_appear_whole(path: str) -> None:
    found = files_by_hand((REPOSITORY / path).read_text())
    assert not found or path in BY_HAND_IN, f"{path} calls {found}; extractors.atomic writes files"


@pytest.mark.parametrize(
    "source",
    ["os.replace(a, b)", "Path(a).rename(b)", "os.rename(a, b)", "path.write_text(x)", "tempfile.mkstemp()"],
)
def test_files_by_hand_are_noticed(source: str) -> None:
    assert files_by_hand(source)


@pytest.mark.parametrize("path", sources())
def test_relative_imports_stay_in_their_package(path: str) -> None:
    depth = path.count("/")
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= depth, f"{path}:{node.lineno} climbs out of its package"


def test_importing_the_pipeline_stays_light() -> None:
    files = [path for path in sources() if path.startswith("pipeline/")]
    modules = [f"{NAME}.{path.removesuffix('.py').replace('/', '.')}" for path in files]
    names = [name.removesuffix(".__init__") for name in modules if name != "t2i_shards.pipeline.engine.ray"]
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert not HEAVY & set(result.stdout.split())


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("extractors/sketch.py", "from t2i_shards.pipeline.shards.store import Store"),
        ("pipeline/stream.py", "import t2i_shards.adapters.training.trainer"),
        ("adapters/training/trainer.py", "def f():\n    from t2i_shards.jobs import train"),
        ("pipeline/image/decode.py", "import torch.nn.functional as F"),
        ("pipeline/image/decode.py", "def f():\n    import torch"),
        ("pipeline/engine/local.py", "import ray"),
        ("adapters/training/trainer.py", "from ray import data"),
        ("pipeline/dataset/dataset.py", "from fsspec.core import url_to_fs"),
        ("jobs/extract.py", "import s3fs"),
        ("jobs/extract.py", "import pipeline"),
        ("pipeline/errors.py", "from t2i_shards import jobs"),
        ("jobs/extract.py", "from pickle import loads"),
        ("pipeline/image/decode.py", "torch = importlib.import_module('torch')"),
    ],
)
def test_rules_notice(path: str, source: str) -> None:
    assert len(broken_rules(path, source)) == 1


ROOMS = {
    "extractors": ["weights", "maps", "networks", "metrics"],
    "pipeline": [
        "image", "scenes", "download", "shards", "sources", "dataset", "stages", "engine", "stream", "publish",
        "report",
    ],
    "adapters": ["base", "model", "inference", "evaluation", "training"],
}  # fmt: skip
"""The folders of each package, lowest first: each may import the ones to its left."""


def modules_imported(path: str, for_types: bool = False) -> set[str]:
    """The project's files that a file imports, in functions too. for_types: also those for type checkers alone."""
    tree = ast.parse((REPOSITORY / path).read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                names.add(module if file_of(module) else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {file for name in names if (file := file_of(name))} - {path}


def file_of(module: str) -> str | None:
    """The project's file that holds a module."""
    place = module.removeprefix(f"{NAME}.").replace(".", "/")
    files = (f"{place}.py", f"{place}/__init__.py") if place.split("/")[0] in ORDER else ()
    return next((file for file in files if (REPOSITORY / file).is_file()), None)


@pytest.mark.parametrize("path", [path for path in sources() if path.count("/") > 1])
def test_folders_import_only_lower_ones(path: str) -> None:
    package, room = path.split("/")[:2]
    rooms = ROOMS.get(package, [])
    if room not in rooms:
        return
    for imported in modules_imported(path):
        other_package, other = imported.split("/")[:2]
        if other_package == package and other in rooms:
            assert rooms.index(other) <= rooms.index(room), f"{path} imports {imported}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter({path: modules_imported(path, for_types=True) for path in sources()}).prepare()


def test_every_folder_has_its_place_in_the_order() -> None:
    for package, rooms in ROOMS.items():
        folders = {
            path.split("/")[1] for path in sources() if path.startswith(f"{package}/") and path.count("/") > 1
        }
        assert folders - {"mini"} == set(rooms)


NAMED_IN = {
    "extractors/registry.py": "the list of conditions",
    "extractors/maps/people_format.py": "the format of keypose",
    "pipeline/sources/": "a source says which conditions it has the truth of",
    "jobs/demo.py": "chooses what the demo shows",
    "jobs/train.py": "the demo's training",
    "jobs/evaluate.py": "the demo's evaluation",
    "jobs/miniature/": "the five conditions of the paper",
    "jobs/mini_weights/": "trains each small network its own way",
}
"""Who may name a condition besides its own file; all others ask its format."""


def conditions_named(source: str) -> set[str]:
    """The string literals in a source that are a condition, or a member that one of them stores."""
    known = {name for condition in conditions() for name in (condition, *format_of(condition).members)}
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {value for value in strings if isinstance(value, str) and value in known}


@pytest.mark.parametrize("path", sources())
def test_a_condition_is_named_in_its_own_file_alone(path: str) -> None:
    own = {file_of(classes["default"].split(":")[0]) for classes in EXTRACTORS.values()}
    found = conditions_named((REPOSITORY / path).read_text())
    assert not found or path in own or path.startswith(tuple(NAMED_IN)), f"{path} names {found}"


@pytest.mark.parametrize("source", ['if condition == "color": ...', 'TITLES = {"canny": "edges"}', 'm["seg.png"]'])
def test_named_conditions_are_noticed(source: str) -> None:
    assert conditions_named(source)
