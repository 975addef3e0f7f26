"""The network in strips of rows against the network layer after layer."""

import pytest
import torch
from torch import nn

from t2i_shards.extractors.networks import pidinet_cpu
from t2i_shards.extractors.networks.pidinet import PiDiNet, load_pidinet
from tests.extractors.published_networks import checkpoint_of, published


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PiDiNet:
    """The tiny one with random weights, under which pixels differ."""
    torch.manual_seed(0)
    path, drawn = tmp_path_factory.mktemp("weights") / "tiny.pth", published(20, 8)
    with torch.no_grad():
        drawn.classifier.weight *= 300  # type: ignore[union-attr, operator]  (else every edge is near 0.5)
        for name, parameter in drawn.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.005)
    torch.save(checkpoint_of(drawn), path)
    return load_pidinet(path)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 520), (520, 8), (136, 72), (144, 24)])
@pytest.mark.parametrize("strip", [1, 1 << 15, 1 << 30], ids=["thinnest", "some", "one"])
def test_strips_of_any_height_give_what_the_layers_give(
    height: int, width: int, strip: int, network: PiDiNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidinet_cpu, "STRIP", strip)
    pictures = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    by_layer = network(pictures)
    with torch.inference_mode():
        edges = pidinet_cpu.find_edges(network, pictures)
    assert edges.shape == by_layer.shape == (2, 1, height, width)
    assert float(by_layer.std()) > 0.1
    assert float((edges - by_layer).abs().max()) <= 1e-4  # through a classifier that enlarges 300 times


def test_gradients_and_other_devices_take_the_layers(network: PiDiNet, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(pidinet_cpu, "find_in_strips", lambda network, x: taken.append(True) or x[:, :1])
    find_edges = pidinet_cpu.find_edges
    find_edges(network, torch.rand(1, 3, 16, 16))
    with torch.inference_mode():
        find_edges(PiDiNet(20, 8).to("meta"), torch.rand(1, 3, 16, 16, device="meta"))
        assert taken == []
        find_edges(network, torch.rand(1, 3, 16, 16))
    assert taken == [True]


def test_no_layer_of_the_first_stage_sees_the_whole_picture(network: PiDiNet) -> None:
    """What keeps it in the cache: at 512x512 no convolution of a stage's blocks is given all rows."""
    seen: list[int] = []
    real = nn.functional.conv2d

    def conv2d(x: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        seen.append(x.shape[2] * x.shape[3] * x.shape[1])
        return real(x, *args, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(nn.functional, "conv2d", conv2d)
        pidinet_cpu.find_edges(network, torch.rand(1, 3, 512, 512))
    assert max(seen) <= 2 * pidinet_cpu.STRIP
