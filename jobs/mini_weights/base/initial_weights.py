"""The first weights of the autoencoder: random, except for a path that lets each cell's colour through.

Hues vary much less than brightness, so that norms all but hide them, and an autoencoder whose weights are all
random learns them last. Values pass in pairs of channels (+x, -x): silu(x) - silu(-x) = x. One more pair has one
large value everywhere, so that norms divide all pictures by nearly the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

OPPONENT = ((0.5, 0.6, 0.5), (1.6, -1.6, 0.0), (0.8, 0.8, -1.6))
"""Brightness, red against green, yellow against blue, out of RGB; each varies about as much as the others."""
LOG_VARIANCE = -6.0
"""Of all latents."""
CONSTANT = 6.0
CARRIED = 2 * len(OPPONENT) + 2


def init_autoencoder(vae: AutoencoderKL) -> None:
    """Write the way into an untrained autoencoder."""
    import torch
    from diffusers.models.attention_processor import Attention
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, ResnetBlock2D):
                _clear(module.conv2)
                if module.conv_shortcut is not None:
                    _pass_on(module.conv_shortcut, slice(None), 1.0)
            elif isinstance(module, Attention):
                _clear(module.to_out[0])
            elif isinstance(module, Downsample2D):
                _pass_on(module.conv, slice(0, 2), 1 / 4)  # of the 2x2 pixels that become one
            elif isinstance(module, Upsample2D):
                _pass_on(module.conv, slice(1, 2), 1.0)
        _write_ends(vae)


def _write_ends(vae: AutoencoderKL) -> None:
    import torch

    colours = torch.tensor(OPPONENT)
    back = torch.linalg.inv(colours)
    for layer in (vae.encoder.conv_in, vae.decoder.conv_in):
        _clear(layer)
        layer.bias[CARRIED - 2 : CARRIED] = torch.tensor([CONSTANT, -CONSTANT])
    _clear(vae.encoder.conv_out, len(colours))
    vae.encoder.conv_out.weight[vae.config.latent_channels :] = 0
    vae.encoder.conv_out.bias[vae.config.latent_channels :] = LOG_VARIANCE
    _clear(vae.decoder.conv_out, 3)
    for name in ("quant_conv", "post_quant_conv"):
        layer = getattr(vae, name)
        layer.weight[:, :, 0, 0] = torch.eye(layer.out_channels)
        layer.bias.zero_()
    for place in range(len(colours)):
        for sign, channel in ((1, 2 * place), (-1, 2 * place + 1)):
            vae.encoder.conv_in.weight[channel, :, 1, 1] = sign * colours[place]
            vae.encoder.conv_out.weight[place, channel, 1, 1] = sign * 2.4
            vae.decoder.conv_in.weight[channel, place, 1, 1] = sign * 0.5
            vae.decoder.conv_out.weight[:, channel, 1, 1] = sign * 1.5 * back[:, place]


def _clear(layer: Any, rows: int = CARRIED) -> None:
    layer.weight[:rows] = 0
    layer.bias[:rows] = 0


def _pass_on(layer: Any, taps: slice, value: float) -> None:
    """The carried channels, each to itself."""
    _clear(layer)
    for channel in range(CARRIED):
        layer.weight[channel, channel, taps, taps] = value
