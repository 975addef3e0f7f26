"""The files of a run are what a run writes, or refused in one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2i_shards.adapters.held_out import read_held_out, write_held_out
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.records import names_sample
from t2i_shards.adapters.run_folder import claim_run
from t2i_shards.adapters.summary import read_summary
from t2i_shards.adapters.training.checkpoint import TrainProgress, TrainState, resume, save_checkpoint
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import HeldOut

WRONG = [b"", b"{", b"\xff\xfe\x00", b"null", b"[1]", b"{}", b"[" * 200_000, b"9" * 6000]


@pytest.fixture
def train_state() -> TrainState:
    """An adapter with one step behind it."""
    adapter = make_adapter(adapter_config_for("tiny", 1, (8, 8, 8, 8)), 0)
    optimizer = torch.optim.AdamW(adapter.parameters(), 1e-3)
    sum(feature.mean() for feature in adapter(torch.zeros(1, 1, 64, 64))).backward()  # type: ignore[union-attr]
    optimizer.step()
    return TrainState(adapter, optimizer)


@pytest.fixture
def checkpoint(train_state: TrainState, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, TrainProgress(1, 0, 2, 0.5), train_state, keep=2)
    assert resume(tmp_path, train_state, 1) == TrainProgress(1, 0, 2, 0.5)
    return tmp_path / "checkpoints" / "000001"


@pytest.mark.parametrize("data", WRONG)
def test_damaged_records(data: bytes, tmp_path: Path) -> None:
    write_held_out(tmp_path, [HeldOut("R", "d", ((0, "a"),))])
    assert read_held_out(tmp_path, "d") == [(0, "a")]
    readers: dict[str, Callable[[], Any]] = {
        "held_out.json": lambda: read_held_out(tmp_path, "d"),
        "summary.json": lambda: read_summary(tmp_path),
    }
    if data != b"{}":
        readers["run.json"] = lambda: claim_run(tmp_path, {"seed": 0})
    for name, read in readers.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RequestError, match=f"{name}: must ") as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [{"step": 2}, {"step": "1"}, {"position": -1}, {"epoch": None}, {"seconds": []}, {"scaler": 3}, {"more": 1}],
)
def test_a_damaged_state(wrong: dict[str, Any], checkpoint: Path, train_state: TrainState, tmp_path: Path) -> None:
    state = checkpoint / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | wrong))
    with pytest.raises(RequestError, match=r"state\.json: must "):
        resume(tmp_path, train_state, 1)


def _rename(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        first, *rest = tensors
        return {name: tensors[first], **{other: tensors[other] for other in rest}}

    return change


@pytest.mark.parametrize("file", ["optimizer.safetensors", f"adapter/{WEIGHTS}"])
@pytest.mark.parametrize(
    "change",
    [
        _rename("x.exp_avg"),
        _rename("9999.exp_avg"),
        _rename("0.other"),
        lambda tensors: {name: tensor[..., None].contiguous() for name, tensor in tensors.items()},
        lambda tensors: dict(list(tensors.items())[1:]),
    ],
)
def test_tensors_that_do_not_fit(
    file: str, change: Any, checkpoint: Path, train_state: TrainState, tmp_path: Path
) -> None:
    save_file(change(load_file(checkpoint / file)), checkpoint / file)
    with pytest.raises(RequestError, match="checkpoints/000001"):
        resume(tmp_path, train_state, 1)


@pytest.mark.parametrize("file", ["optimizer.safetensors", f"adapter/{WEIGHTS}"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"\x40\r\x03\0\0\0\0\0" + b"[" * 200_000])
def test_what_is_no_safetensors_file(
    file: str, data: bytes, checkpoint: Path, train_state: TrainState, tmp_path: Path
) -> None:
    (checkpoint / file).write_bytes(data)
    with pytest.raises(RequestError, match="is no safetensors file"):
        resume(tmp_path, train_state, 1)


SAMPLE = Sample("000007", {"jpg": b"picture"})


@names_sample
def read(sample: Sample, name: str, error: Exception | None = None) -> bytes:
    """Reads a member."""
    if error is not None:
        raise error
    return bytes(sample.members[name])


def test_what_can_be_read_is_given_as_it_is() -> None:
    assert read(SAMPLE, "jpg") == b"picture"
    assert read.__doc__ == "Reads a member."


def test_a_member_that_is_missing_or_damaged_is_named_with_its_sample() -> None:
    with pytest.raises(DamagedShard, match=r"^000007: has no member 'sketch\.png'$"):
        read(SAMPLE, "sketch.png")
    with pytest.raises(DamagedShard, match=r"^000007: cannot be read: cut short$") as raised:
        read(SAMPLE, "jpg", ValueError("cut short"))
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [RequestError("too small"), MemoryError()])
def test_what_is_not_the_members_fault_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        read(SAMPLE, "jpg", error)
    assert raised.value is error
