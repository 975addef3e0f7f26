from __future__ import annotations

import pytest
import torch

from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.options import AdapterName
from t2i_shards.pipeline.errors import RequestError

SD = (320, 640, 1280, 1280)
SDXL = (320, 640, 1280)


@pytest.mark.parametrize(
    ("name", "widths", "channels", "parameters"),
    [
        ("base", SD, 1, 77_000_640),
        ("base", SD, 3, 77_369_280),
        ("small", SD, 1, 18_678_960),
        ("small", SD, 3, 18_689_200),
        ("tiny", SD, 1, 5_078_840),
        ("xl", SDXL, 1, 77_553_600),
        ("xl", SDXL, 3, 79_028_160),
    ],
)
def test_published_parameter_counts(
    name: AdapterName, widths: tuple[int, ...], channels: int, parameters: int
) -> None:
    with torch.device("meta"):
        adapter = Adapter(adapter_config_for(name, channels, widths))
    assert sum(p.numel() for p in adapter.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "widths", "line"),
    [
        ("xl", SD, r"--adapter xl needs a base whose UNet has 3 blocks \(SDXL\), this one has 4"),
        ("tiny", SDXL, r"--adapter tiny needs a base whose UNet has 4 blocks \(SD 1.x\), this one has 3"),
    ],
)
def test_size_that_does_not_go_with_the_base_is_refused(
    name: AdapterName, widths: tuple[int, ...], line: str
) -> None:
    with pytest.raises(RequestError, match=line):
        adapter_config_for(name, 1, widths)
