"""The folded network against the published one (controlnet_aux carries it)."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from t2i_shards.extractors.networks.pidinet import load_pidinet
from tests.extractors.published_networks import checkpoint_of, published

SIZES = {"table5_pidinet": (60, 24), "table5_pidinet-small": (30, 12), "table5_pidinet-tiny": (20, 8)}


def compare(path: Path, reference: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Greatest difference of the edge probabilities, and IoU of the edges > 0.5."""
    with torch.inference_mode():
        ours, theirs = load_pidinet(path)(x), reference(x)[-1]
    edges, expected = ours > 0.5, theirs > 0.5
    iou = (edges & expected).sum() / max(1, int((edges | expected).sum()))
    return float((ours - theirs).abs().max()), float(iou)


@pytest.mark.parametrize(("channels", "dilated"), SIZES.values(), ids=SIZES)
def test_folded_equals_unfolded_on_random_weights(channels: int, dilated: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = published(channels, dilated)
    torch.save(checkpoint_of(reference), tmp_path / "random.pth")
    difference, _ = compare(tmp_path / "random.pth", reference, torch.rand(2, 3, 72, 88))
    assert difference <= 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_folded_equals_unfolded_on_photographs_with_the_published_weights(name: str, assets: Path) -> None:
    path = assets / "weights" / "pidinet" / f"{name}.pth"
    reference = published(*SIZES[name])
    state = torch.load(path, weights_only=True)["state_dict"]
    reference.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    for photograph in ("000000000785.jpg", "000000197388.jpg"):
        bgr = cv2.imread(str(assets / "images" / "mmpose_coco" / photograph))
        assert bgr is not None
        rgb = np.ascontiguousarray(bgr[:320, :384, ::-1])
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255
        difference, iou = compare(path, reference, x)
        assert difference <= 1e-4
        assert iou >= 0.995


def test_safetensors_with_the_same_keys(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    reference = published(20, 8)
    save_file(checkpoint_of(reference)["state_dict"], tmp_path / "tiny.safetensors")
    difference, _ = compare(tmp_path / "tiny.safetensors", reference, torch.rand(1, 3, 64, 64))
    assert difference <= 1e-5


@pytest.mark.parametrize("damage", ["missing", "foreign", "misshapen"])
def test_a_tensor_that_does_not_fit_is_refused(damage: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(published(20, 8))
    state = checkpoint["state_dict"]
    if damage == "missing":
        del state["module.classifier.bias"]
    elif damage == "foreign":
        state["module.classifier.scale"] = torch.ones(1)
    else:
        state["module.classifier.bias"] = torch.ones(2)
    torch.save(checkpoint, tmp_path / "odd.pth")
    with pytest.raises(RuntimeError, match="classifier"):
        load_pidinet(tmp_path / "odd.pth")


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"epoch": 19, "state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_pidinet(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()
