"""What extractors share: pictures that are uploaded once, and networks that see pieces of one size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from t2i_shards.extractors import batch as module
from t2i_shards.extractors.base import compile_networks, compiled_recipe
from t2i_shards.extractors.batch import (
    Batch,
    DeviceUnavailable,
    as_batch,
    check_pictures,
    find_device,
    fixed_threads,
    is_out_of_memory,
    run_fixed,
)
from t2i_shards.extractors.sketch import Sketch

CPU = torch.device("cpu")


class Cuda:
    """What `run_fixed` takes for a GPU; the tensors stay on the CPU."""

    type = "cuda"

    def __str__(self) -> str:
        return "cpu"


def numbered(count: int, height: int = 2, width: int = 3) -> np.ndarray:
    """uint8 (count, H, W, 3): picture i is all i."""
    return np.repeat(np.arange(count, dtype=np.uint8), height * width * 3).reshape(count, height, width, 3)


class Network:
    """Gives the first value of each picture, and notes the sizes of the pieces, the threads and torch's modes."""

    def __init__(self) -> None:
        self.pieces: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        self.pieces.append(len(pictures))
        self.threads.add(torch.get_num_threads())
        self.inference = torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        self.product = (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        self.cudnn = (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32)
        return pictures[:, 0, 0, 0].clone()


def run(pictures: np.ndarray | Batch, device: object, size: int) -> tuple[list[int], Network]:
    network, batch = Network(), as_batch(pictures)
    batch.on(CPU)  # where Cuda finds them
    found = run_fixed(network, batch, device, size, threads=1)  # type: ignore[arg-type]
    return found.tolist(), network


def test_uploaded_once_and_channels_last() -> None:
    batch = Batch(numbered(4))
    parts = list(batch.split(3))
    first = parts[0].on(CPU)  # a part that is asked first uploads them all
    tensor = batch.on(CPU)
    assert tensor.shape == (4, 3, 2, 3)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert batch.on(CPU) is tensor
    (part,) = parts[1].split(None)
    for other in (first, part.on(CPU)):
        assert other.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    assert [first[:, 0, 0, 0].tolist(), part.on(CPU)[:, 0, 0, 0].tolist()] == [[0, 1, 2], [3]]
    assert [part.pictures[0, 0, 0, 0] for part in parts] == [0, 3]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
def test_pieces_are_of_one_size_on_a_gpu_and_single_on_the_cpu(count: int) -> None:
    on_gpu, network = run(numbered(count), Cuda(), 8)
    assert on_gpu == list(range(count))
    assert set(network.pieces) == {8}
    on_cpu, network = run(numbered(count), CPU, 8)
    assert on_cpu == list(range(count))
    assert set(network.pieces) == {1}


def test_a_limit_makes_the_pieces_smaller_and_the_last_is_filled_too() -> None:
    for part in Batch(numbered(5)).split(4, 4):
        _, network = run(part, Cuda(), 8)
        assert network.pieces == [4]
    _, network = run(Batch(numbered(5), limit=16), Cuda(), 8)
    assert network.pieces == [8]


def test_threads_are_as_asked_and_then_as_before() -> None:
    with fixed_threads(3):  # whatever this process has
        _, network = run(numbered(1), CPU, 1)
        assert network.threads == {1}
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), fixed_threads(1):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3


def test_networks_run_for_inference_in_full_precision_and_the_same_every_time() -> None:
    """Also where the caller trains in half precision."""
    with torch.autocast("cpu", torch.bfloat16):
        _, network = run(numbered(1), CPU, 1)
    assert network.inference
    assert network.product == torch.float32
    assert network.cudnn == (True, False)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "pictures", [np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3)), np.zeros((1, 0, 2, 3))]
)
def test_what_is_no_batch_is_refused(pictures: np.ndarray) -> None:
    for check in (check_pictures, Batch, as_batch):
        with pytest.raises(ValueError, match=r"must be uint8 \(N, H, W, 3\), H and W >= 1, got"):
            check(pictures)  # type: ignore[operator]


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("cpu") == CPU
    with pytest.raises(DeviceUnavailable, match=r"^device cuda needs a GPU, and this machine has none[^\n]*$"):
        find_device("cuda")
    with pytest.raises(DeviceUnavailable, match=r"^a device must be one of cpu, cuda, not 'tpu'$"):
        find_device("tpu")


def out_of_memory_on_the_cpu() -> None:
    torch.empty(1 << 60)


def out_of_memory_in_numpy() -> None:
    np.empty(1 << 60, np.uint8)


@pytest.mark.parametrize("run_out", [out_of_memory_on_the_cpu, out_of_memory_in_numpy])
def test_running_out_of_memory_is_distinguished_from_other_errors(run_out: object) -> None:
    with pytest.raises(Exception, match=r"memory|allocate") as caught:
        run_out()  # type: ignore[operator]
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_every_network_of_an_extractor_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: compiled.append(module))
    extractor = Sketch("default", None)
    vars(extractor).update(network=torch.nn.Identity(), device=CPU)
    assert compile_networks(extractor) == ["network"]
    assert compiled == [extractor.network]


def test_compiled_networks_are_another_recipe() -> None:
    assert compiled_recipe({"weights": {"file": "x"}}) == {"weights": {"file": "x"}, "compiled": True}
    assert compiled_recipe({"weights": None}) == {"weights": None}


def test_importing_it_loads_no_torch() -> None:
    import subprocess
    import sys

    script = f"import sys, {module.__name__}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
