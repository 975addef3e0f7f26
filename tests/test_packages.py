"""All packages of the design, from one hashed list, in one process."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]

NETWORKS = (
    "torch torchvision diffusers transformers timm safetensors huggingface_hub controlnet_aux mmpose pycocotools"
)
PICTURES = "numpy PIL cv2 skimage webdataset img2dataset pyarrow fsspec s3fs"
RUNNING = "ray tyro tqdm jinja2 matplotlib moto"
PACKAGES = f"{NETWORKS} {PICTURES} {RUNNING}".split()

# A process of its own: what one package does to another at import must not reach the other tests.
IMPORTS = """
import importlib, json, sys
from t2i_shards.extractors.networks.openmmlab import import_mmpose

failures = {}
for name in sys.argv[1:]:
    try:
        module = import_mmpose() if name == "mmpose" else importlib.import_module(name)
    except BaseException as error:
        failures[name] = f"{type(error).__name__}: {error}"

from pathlib import Path
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model.utils import revert_sync_batchnorm
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

configs = Path(import_mmpose().__file__).parent / ".mim/configs/body_2d_keypoint"
shapes = {}
with torch.no_grad():
    config = Config.fromfile(configs / "rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py").model
    del config.backbone["_scope_"]
    model = revert_sync_batchnorm(MODELS.build({**config, "_scope_": "mmpose"})).eval()
    x, y = model(torch.rand(2, 3, 256, 192), None, mode="tensor")
    shapes["rtmpose"] = [list(x.shape), list(y.shape)]

    config = Config.fromfile(configs / "rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py").model
    config.test_cfg.score_thr = 0.0  # random weights are sure of nothing
    model = MODELS.build({**config, "_scope_": "mmpose"}).eval()
    size = np.array([256.0, 192.0])
    place = {"input_size": (256, 192), "input_center": size / 2, "input_scale": size}
    samples = [PoseDataSample(metainfo=place) for _ in range(2)]
    people = [sample.pred_instances for sample in model(torch.rand(2, 3, 192, 256), samples, mode="predict")]
    shapes["rtmo"] = [[list(one.keypoints.shape[1:]), list(one.keypoint_scores.shape[1:])] for one in people]
    shapes["rtmo people"] = [len(one.keypoints) for one in people]
print(json.dumps({"failures": failures, "shapes": shapes}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    command = [sys.executable, "-c", IMPORTS, *PACKAGES]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize("name", PACKAGES)
def test_package_imports_beside_the_others(imported: dict[str, Any], name: str) -> None:
    assert name not in imported["failures"], imported["failures"][name]


def test_mmpose_model_runs(imported: dict[str, Any]) -> None:
    bins = [[2, 17, 2 * 192], [2, 17, 2 * 256]]  # SimCC: two bins per pixel of the 192x256 input
    assert imported["shapes"]["rtmpose"] == bins
    assert imported["shapes"]["rtmo"] == [[[17, 2], [17]]] * 2
    assert min(imported["shapes"]["rtmo people"]) > 0


def requirements() -> list[str]:
    """One string per requirement of requirements.txt, its hashes included."""
    text = (REPOSITORY / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def test_requirements_name_no_host() -> None:
    for name in ("requirements.txt", "requirements.in"):
        text = (REPOSITORY / name).read_text()
        assert not re.search(
            r"://|--(extra-)?index|--find-links|--trusted-host|^-[if]\b| @ ", text, re.MULTILINE
        ), name


def test_every_requirement_is_pinned_and_hashed() -> None:
    lines = requirements()
    assert len(lines) > 150
    unpinned = [
        line for line in lines if not re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line)
    ]
    assert not unpinned


def test_requirements_answer_what_is_asked_for() -> None:
    pins: dict[str, list[str]] = {}
    for line in requirements():
        name, version = re.match(r"([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ;]+)", line).groups()  # type: ignore[union-attr]
        pins.setdefault(name, []).append(version)
    for line in (REPOSITORY / "requirements.in").read_text().splitlines():
        if asked := line.partition("#")[0].strip():
            wish = Requirement(asked)
            assert pins.get(wish.name), f"{wish.name} is not in requirements.txt: run `make lock`"
            assert all(version in wish.specifier for version in pins[wish.name]), f"{wish}: run `make lock`"


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, with every extra but the tests' own."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wishes = [wish for name, extra in extras.items() if name != "dev" for wish in extra]
    return [Requirement(wish) for wish in project["dependencies"] + wishes]


def test_what_is_pinned_is_within_the_declared_bounds() -> None:
    for wish in declared():
        pins = [line for line in requirements() if re.match(rf"{wish.name}(\[[a-z,]+\])?==", line)]
        outside = [pin for pin in pins if pin.split()[0].partition("==")[2] not in wish.specifier]
        if wish.name != "webdataset":  # .ci/overrides.txt
            assert not outside


@pytest.mark.parametrize(("name", "least"), [("torch", (2, 10)), ("pillow", (12, 2)), ("ray", (2, 54))])
def test_versions_with_known_holes_are_left_behind(name: str, least: tuple[int, int]) -> None:
    pins = [
        match for line in requirements() if (match := re.match(rf"{name}(?:\[[a-z,]+\])?==(\d+)\.(\d+)", line))
    ]
    assert pins
    for pin in pins:
        assert (int(pin[1]), int(pin[2])) >= least
