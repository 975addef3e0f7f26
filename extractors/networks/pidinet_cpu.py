"""PiDiNet on a CPU: strip after strip of rows, each through all blocks of a stage while it is in the cache.

Over the whole picture, a layer of the first stage reads and writes 60 floats a pixel, 63 MB at 512x512, and takes
most of its time for the memory. In strips the network needs less than two thirds of that time (one core, 512x512).
The sums are the network's own, in another order, and the edges the same to 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_shards.extractors.networks.pidinet import Block, Dilation, PiDiNet, Stage

STRIP = 1 << 19
"""Floats of a strip, at most: it and what is made of it share a core's caches."""
LEAST = 8
"""Rows of a strip, at least: of thinner ones, too much would be their neighbours' rows."""
REACH = 11
"""Rows that the widest dilation sees above and below."""


def find_edges(network: PiDiNet, x: Tensor) -> Tensor:
    """`network(x)`: in strips on a CPU; by the network itself elsewhere, compiled, or for gradients."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or network._compiled_call_impl is not None:
        edge: Tensor = network(x)
        return edge
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.cat([find_in_strips(network, picture) for picture in x.split(1)])


def find_in_strips(network: PiDiNet, x: Tensor) -> Tensor:
    """`network(x)` of one picture, (1, 3, H, W) in channels_last: (1, 1, H, W)."""
    size, sides = x.shape[2:], []
    for number, stage in enumerate(network.stages()):
        channels, (height, width) = stage.blocks[-1].conv2.out_channels, x.shape[2:]
        strips = iter(_cut(x, channels))
        if number == 0:
            strips = (_convolve(network.init_block, seen) for seen in _with_neighbours(strips, 1))
        for block in stage.blocks:
            strips = _through(block, strips)
        x, narrow = _empty(channels, height // 2, width // 2), _narrow_empty(stage.dilation, height, width)
        _halve_and_narrow(strips, stage.dilation, x, narrow)
        sides.append(F.interpolate(_side(narrow, stage), size, mode="bilinear", align_corners=False))
    edge: Tensor = torch.sigmoid(network.classifier(torch.cat(sides, dim=1)))
    return edge


def _cut(x: Tensor, channels: int) -> tuple[Tensor, ...]:
    """Strips whose layers have so many channels."""
    return torch.split(x, max(LEAST, STRIP // (x.shape[3] * channels)), dim=2)


def _with_neighbours(strips: Iterable[Tensor], reach: int) -> Iterator[Tensor]:
    """The picture's rows in strips that overlap: `reach` rows more above and below, beyond the picture zeros.

    Only what lies between is the receiver's, who may write there.
    """
    held: Tensor | None = None
    for strip in strips:
        if held is None:
            held = _empty(strip.shape[1], reach, strip.shape[3]).zero_()
        held = torch.cat([held, strip], dim=2)
        if held.shape[2] > 2 * reach:
            seen, held = held, held[:, :, -2 * reach :].clone()
            yield seen
    assert held is not None
    yield F.pad(held, (0, 0, 0, reach))


def _through(block: Block, strips: Iterator[Tensor]) -> Iterator[Tensor]:
    """The block's output, strip after strip. Its pooling has been done."""
    reach = block.conv1.kernel_size[0] // 2
    for seen in _with_neighbours(strips, reach):
        within = seen[:, :, reach:-reach]
        y = _pixels(_linear(block.shortcut, within) if block.pool else within)
        y.addmm_(_pixels(F.relu_(_convolve(block.conv1, seen))), block.conv2.weight.flatten(1).t())
        yield _picture(y, within.shape[2])


def _halve_and_narrow(strips: Iterator[Tensor], dilation: Dilation, pooled: Tensor, narrow: Tensor) -> None:
    """Write a stage's output as the next stage sees it, max-pooled, and as the stage's own dilations do."""
    top, left_over = 0, pooled
    for strip in strips:
        bottom = top + strip.shape[2]
        if pooled.numel() and bottom // 2 > top // 2:  # the last stage may be a pixel wide; its half is not used
            pairs = torch.cat([left_over, strip], dim=2) if top % 2 else strip
            pooled[:, :, top // 2 : bottom // 2] = F.max_pool2d(pairs, 2)
        left_over = strip[:, :, -1:]
        narrow[:, :, REACH + top : REACH + bottom] = _linear(dilation.conv1, F.relu(strip))
        top = bottom


def _narrow_empty(dilation: Dilation, height: int, width: int) -> Tensor:
    """Room for what the dilations see, with the zeros above and below."""
    narrow = _empty(dilation.conv1.out_channels, height + 2 * REACH, width)
    narrow[:, :, :REACH] = narrow[:, :, -REACH:] = 0
    return narrow


def _side(narrow: Tensor, stage: Stage) -> Tensor:
    """(1, 1, h, w) edge logits. The last convolution, being linear, comes before the weighing by attention."""
    _, channels, height, width = narrow.shape
    height -= 2 * REACH
    last: nn.Conv2d = stage.reduce.conv
    logits, four = _empty(1, height, width), _empty(stage.attention.conv1.out_channels, height, width)
    step = max(LEAST, STRIP // (width * channels))
    for top in range(0, height, step):
        bottom = min(height, top + step)
        y = _dilate(stage.dilation, narrow[:, :, top : bottom + 2 * REACH])
        logits[:, :, top:bottom] = _picture(_pixels(y) @ last.weight.flatten(1).t(), bottom - top)
        four[:, :, top:bottom] = _linear(stage.attention.conv1, F.relu_(y))
    assert last.bias is not None
    return logits * torch.sigmoid(stage.attention.conv2(four)) + last.bias


def _dilate(dilation: Dilation, seen: Tensor) -> Tensor:
    """The sum of the dilated convolutions where all REACH rows above and below are there."""
    parts = (
        _convolve(c, seen[:, :, REACH - c.dilation[0] : seen.shape[2] - REACH + c.dilation[0]])
        for c in dilation.dilated
    )
    y = next(parts)
    for part in parts:
        y += part
    return y


def _convolve(conv: nn.Conv2d, seen: Tensor) -> Tensor:
    """The rows of `conv`'s output for which all rows are there."""
    beside = conv.kernel_size[1] // 2 * conv.dilation[1]
    return F.conv2d(seen, conv.weight, padding=(0, beside), dilation=conv.dilation, groups=conv.groups)


def _linear(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution."""
    y = F.linear(_pixels(x), conv.weight.flatten(1), conv.bias)
    return _picture(y, x.shape[2])


def _pixels(x: Tensor) -> Tensor:
    """(1, C, h, w) in channels_last -> (h * w, C), the same memory."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _picture(pixels: Tensor, height: int) -> Tensor:
    """(h * w, C) -> (1, C, h, w) in channels_last, the same memory."""
    return pixels.view(1, height, -1, pixels.shape[1]).permute(0, 3, 1, 2)


def _empty(channels: int, height: int, width: int) -> Tensor:
    """(1, C, H, W) in channels_last."""
    return torch.empty(1, height, width, channels).permute(0, 3, 1, 2)
