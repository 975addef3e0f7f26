"""The autoencoder of the tiny Stable Diffusions (adapters/base/tiny.py), written down instead of trained.

Its latents are each 8x8 cell's colour and how much detail it holds. Values pass norms and activations in pairs of
channels (+x, -x): a group of just this pair is scaled by the root mean square of x and keeps its sign, and
silu(x) - silu(-x) = x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

LATENTS, WIDTH = 4, 16
RED, GREEN, BLUE, DETAIL, ACROSS, DOWN = range(0, 12, 2)  # first channel of each pair
COLOUR_SCALE = 0.5
"""Root mean square of the colour latents; detail, which conditions say most about, has 1."""


def build_vae() -> AutoencoderKL:
    """Pictures to red, green, blue (each over its root mean square) and detail (mean 0, deviation 1), and back.

    Detail is the sum over three scales of how much the brightness changes; the decoder leaves it out.
    """
    import torch
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):  # the constructor draws weights, of which none is left
        vae = AutoencoderKL(
            block_out_channels=(WIDTH,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=LATENTS,
            norm_num_groups=WIDTH // 2,
            sample_size=512,
            scaling_factor=1.0,
        )
    with torch.no_grad():
        # A residual block whose weights are zero passes its input on.
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                for parameter in module.parameters():
                    parameter.zero_()
        for layer in (vae.quant_conv, vae.post_quant_conv):
            layer.weight[:, :, 0, 0] = torch.eye(layer.out_channels)
        _write_encoder(vae.encoder)
        _write_decoder(vae.decoder)
    return vae


def _write_encoder(encoder: Any) -> None:
    for colour, pair in enumerate((RED, GREEN, BLUE)):
        write_pair(encoder.conv_in, pair, colour)
    for block, following in zip(encoder.down_blocks, encoder.down_blocks[1:], strict=False):
        # Rows and columns 0 and 1 of the kernel lie on the 2x2 pixels that become one; 2 is the next one's.
        down = block.downsamplers[0].conv.weight
        for channel in range(DETAIL + 2):
            down[channel, channel, :2, :2] = 1 / 4
        for pair in (RED, GREEN, BLUE):
            for sign, side in ((1, 0), (-1, 1)):
                down[ACROSS, pair, :2, side] = sign / 3
                down[ACROSS + 1, pair, :2, side] = -sign / 3
                down[DOWN, pair, side, :2] = sign / 3
                down[DOWN + 1, pair, side, :2] = -sign / 3
        # silu(x) + silu(-x) is close to |x|.
        resnet = following.resnets[0]
        resnet.conv1.weight[0, ACROSS : DOWN + 2, 1, 1] = 1
        resnet.conv1.weight[1, ACROSS : DOWN + 2, 1, 1] = -1
        for channel in (DETAIL, DETAIL + 1):
            read_pair(resnet.conv2, channel, 0)
    # The pair (d, d), unlike (+d, -d), loses its mean in the norm; the signs come after it.
    encoder.conv_norm_out.weight[DETAIL + 1] = -1
    for latent, pair in enumerate((RED, GREEN, BLUE)):
        read_pair(encoder.conv_out, latent, pair, COLOUR_SCALE)
    read_pair(encoder.conv_out, LATENTS - 1, DETAIL)
    encoder.conv_out.bias[LATENTS:] = -30  # log variance: the posterior has no noise worth the name


def _write_decoder(decoder: Any) -> None:
    for colour, pair in enumerate((RED, GREEN, BLUE)):
        write_pair(decoder.conv_in, pair, colour)
        read_pair(decoder.conv_out, colour, pair, 1 / 2)  # pictures have a root mean square of about 1/2
    for block in decoder.up_blocks[:-1]:
        for channel in range(DETAIL):
            block.upsamplers[0].conv.weight[channel, channel, 1, 1] = 1


def write_pair(conv: torch.nn.Conv2d, pair: int, source: int) -> None:
    """Channel `source` of what `conv` is given, into the pair that begins at channel `pair`."""
    conv.weight[pair, source, 1, 1] = 1
    conv.weight[pair + 1, source, 1, 1] = -1


def read_pair(conv: torch.nn.Conv2d, target: int, pair: int, scale: float = 1.0) -> None:
    """The pair that begins at channel `pair`, times `scale`, into channel `target`."""
    conv.weight[target, pair, 1, 1] = scale
    conv.weight[target, pair + 1, 1, 1] = -scale
