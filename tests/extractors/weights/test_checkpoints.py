import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors import safe_open

from t2i_shards.extractors.weights.checkpoints import NotTensors, convert, read_tensors, save_tensors


def tensors() -> dict[str, torch.Tensor]:
    shared = torch.arange(12.0).view(3, 4)
    return {
        "module.a.weight": shared,
        "module.a.part": shared[1:].T,
        "module.count": torch.tensor(7),
        "module.half": torch.full((2, 0, 3), 0.5).half(),
        "module.odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype
        and a[name].shape == b[name].shape
        and torch.equal(bits(a[name]), bits(b[name]))
        for name in a
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


@pytest.mark.parametrize("key", ["state_dict", "model", None])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_names_and_values_are_those_of_the_file(key: str | None, zipped: bool, tmp_path: Path) -> None:
    content: Any = {key: OrderedDict(tensors()), "epoch": 19, "meta": {"a": [1]}} if key else tensors()
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_tensors(tmp_path / "net.pth"), tensors())


def test_the_history_of_a_training_is_left_out_and_nothing_of_it_imported(tmp_path: Path) -> None:
    import numpy as np
    from mmengine.logging import HistoryBuffer

    content = {"state_dict": tensors(), "message_hub": {"loss": HistoryBuffer([1.0], [1]), "last": np.float64(2)}}
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        torch.load(tmp_path / "net.pth", weights_only=True)
    assert same(read_tensors(tmp_path / "net.pth"), tensors())
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        torch.load(tmp_path / "net.pth", weights_only=True)


def test_names_that_share_their_memory_are_not_blown_up(tmp_path: Path) -> None:
    shared = torch.arange(10_000.0)
    torch.save({f"name {number}": shared for number in range(500)}, tmp_path / "net.pth")
    with pytest.raises(NotTensors, match=r"net\.pth has \d+ bytes, and its tensors would take 20000000"):
        convert(tmp_path / "net.pth", tmp_path / "net.safetensors", "0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    torch.save({f"name {number}": shared for number in range(8)}, tmp_path / "tied.pth")
    assert convert(tmp_path / "tied.pth", tmp_path / "tied.safetensors", "0" * 64) == 8


class Trap:
    """Unpickled, it would create a file or a folder."""

    def __init__(self, function: Callable[..., Any], *arguments: str) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, shutil.copyfile])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_pickle_that_runs_code_is_not_run(zipped: bool, function: Callable[..., Any], tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    arguments = (ran,) if function is os.mkdir else (__file__, ran)
    trap = {"state_dict": tensors(), "meta": Trap(function, *arguments)}
    torch.save(trap, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(NotTensors, match=r"nothing but tensors, and it names \w+\.\w+, which is never imported"):
        read_tensors(tmp_path / "net.pth")
    with pytest.raises(NotTensors):
        convert(tmp_path / "net.pth", tmp_path / "net.safetensors", "aa")
    assert os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.parametrize("name", ["net.pth", "net", "net.safetensors"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "begins with b'<html>not fo'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"begins with b'\x89PNG\r\n\x1a\n\x00\x00\x00\x00'"),
        (b"PK\x03\x04" + bytes(100), "damaged, cut off"),
        (b"\x80\x02}q\x00(X", "damaged, cut off"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    name: str, content: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotTensors) as caught:
        read_tensors(tmp_path / name)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / name} ")
    assert what in said or (name == "net.safetensors" and "torch.save wrote it" in said)
    assert "fetch it again" in said
    assert "weights_only" not in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["net", "net.pth", "net.ckpt"])
def test_what_a_file_is_called_does_not_matter(name: str, tmp_path: Path) -> None:
    apart = {name: tensor.contiguous().clone() for name, tensor in tensors().items()}
    save_tensors(apart, tmp_path / name)
    assert same(read_tensors(tmp_path / name), apart)
    torch.save(tensors(), tmp_path / name)
    assert same(read_tensors(tmp_path / name), tensors())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([torch.ones(1)], "list"),
        ({}, "dict"),
        ({"a": torch.ones(1), "b": 3}, "'b' is int"),
        ({1: torch.ones(1)}, "1"),
    ],
)
def test_more_than_named_tensors_is_refused(content: Any, what: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(NotTensors, match=what):
        read_tensors(tmp_path / "net.pth")


def test_a_converted_file_holds_the_same_and_says_of_what_it_was_made(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors()}, tmp_path / "net.pth")
    assert convert(tmp_path / "net.pth", tmp_path / "net.safetensors", "aa") == len(tensors())
    assert same(read_tensors(tmp_path / "net.safetensors"), tensors())
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert file.metadata() == {"source": "net.pth", "source_sha256": "aa"}
    assert sorted(os.listdir(tmp_path)) == ["net.pth", "net.safetensors"]
    with pytest.raises(FileExistsError):
        convert(tmp_path / "net.pth", tmp_path / "net.safetensors", "aa")


def test_a_checkpoint_that_is_packed_is_not_loaded(tmp_path: Path) -> None:
    """torch stores members as they are; its reader would unpack them, 400 MB from 400 kB."""
    torch.save({"weight": torch.zeros(4_000_000)}, tmp_path / "plain.pth")
    with ZipFile(tmp_path / "plain.pth") as plain, ZipFile(tmp_path / "net.pth", "w", ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    assert (tmp_path / "net.pth").stat().st_size < 40_000
    with pytest.raises(NotTensors, match=r"net\.pth has \d+ bytes and would unpack to 16\d+; it is not loaded"):
        read_tensors(tmp_path / "net.pth")


def test_a_tensor_that_repeats_what_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "net.pth")
    with pytest.raises(NotTensors, match=r"holds less of 'weight' than its shape \(1099511627776,\) says"):
        convert(tmp_path / "net.pth", tmp_path / "net.safetensors", "0" * 64)


def test_written_tensors_are_readable_by_whom_other_files_are(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save_tensors({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
