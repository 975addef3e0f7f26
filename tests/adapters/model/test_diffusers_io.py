from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import T2IAdapter

from t2i_shards.adapters.model.adapter import Adapter, make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import WEIGHTS, load_adapter, save_adapter
from t2i_shards.adapters.options import AdapterName
from t2i_shards.pipeline.errors import RequestError

EQUAL_ENDS, RISING = (32, 64, 128, 128), (32, 32, 32, 64)
ADAPTERS: list[tuple[AdapterName, tuple[int, ...], float]] = [
    ("base", EQUAL_ENDS, 0.0),
    ("base", RISING, 0.0),
    ("small", EQUAL_ENDS, 0.0),
    ("small", RISING, 0.0),
    ("tiny", EQUAL_ENDS, 1e-6),
    ("tiny", RISING, 1e-6),
    ("xl", (32, 64, 128), 0.0),
]


def _adapter(name: AdapterName, widths: tuple[int, ...], seed: int = 1) -> Adapter:
    return make_adapter(adapter_config_for(name, 3, widths), seed)


@pytest.mark.parametrize(("name", "widths", "tolerance"), ADAPTERS)
def test_diffusers_loads_it_whole_and_computes_the_same(
    tmp_path: Path, name: AdapterName, widths: tuple[int, ...], tolerance: float
) -> None:
    adapter = _adapter(name, widths)
    save_adapter(adapter, tmp_path)
    theirs, report = T2IAdapter.from_pretrained(tmp_path, output_loading_info=True)
    assert {kind: list(names) for kind, names in report.items() if names} == {}
    condition = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, expected = adapter(condition), theirs(condition)
    assert len(features) == 4
    for ours, other in zip(features, expected, strict=False):
        torch.testing.assert_close(other, ours, rtol=0, atol=tolerance)
    # A stage that this adapter lacks adds nothing.
    assert all(not other.any() for other in expected[4:])


@pytest.mark.parametrize(("name", "widths", "tolerance"), ADAPTERS)
def test_reading_gives_back_every_bit(
    tmp_path: Path, name: AdapterName, widths: tuple[int, ...], tolerance: float
) -> None:
    written, read = _adapter(name, widths), _adapter(name, widths, seed=2)
    save_adapter(written, tmp_path)
    load_adapter(read, tmp_path)
    assert all(torch.equal(read.state_dict()[name], tensor) for name, tensor in written.state_dict().items())


def test_same_adapter_gives_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        save_adapter(_adapter("tiny", RISING), folder)
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
    assert WEIGHTS in first


def test_wider_adapter_is_not_read_as_a_narrower_one(tmp_path: Path) -> None:
    save_adapter(_adapter("small", RISING), tmp_path)
    with pytest.raises(RequestError, match="wider adapter"):
        load_adapter(_adapter("tiny", RISING), tmp_path)


def test_adapter_of_another_layout_is_refused(tmp_path: Path) -> None:
    save_adapter(_adapter("base", RISING), tmp_path)
    with pytest.raises(RequestError, match="does not hold an adapter of the layout"):
        load_adapter(_adapter("base", EQUAL_ENDS), tmp_path)
