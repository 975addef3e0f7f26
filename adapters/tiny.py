"""The tiny Stable Diffusion that is built on the machine: what `--base tiny` means. No file, no network.

A base with nothing but random weights cannot show that an adapter learns: its latents are noise and its
prediction has nothing to do with the picture. So this one is written down where it matters. Its autoencoder
gives each 8x8 cell its colour and how much detail it holds. Its UNet takes the noisy latent itself for the
noise, which is right at the last time step and wrong by the share of the picture in it before; that share is
what an adapter can learn. The rest of the UNet and the text encoder are random, from a seed.

Values pass norms and activations in pairs of channels (+x, -x). A group of just this pair is scaled by the
root mean square of x and keeps its sign, and silu(x) - silu(-x) = x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

WIDTHS = (32, 32, 32, 64)
CONTEXT = 32
LATENTS = 4
VAE_WIDTH = 16
GROUPS = 16  # of WIDTHS[0] channels: pairs

RED, GREEN, BLUE, DETAIL, ACROSS, DOWN = range(0, 12, 2)  # first channel of each pair in the autoencoder
COLOUR_SCALE = 0.5
"""Root mean square of the colour latents; detail, which conditions tell most about, has 1."""


def byte_vocabulary() -> dict[str, int]:
    """CLIP's byte-level vocabulary without merges: 256 bytes, 256 bytes that end a word, two specials."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def build_tokenizer() -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=byte_vocabulary(), merges=[], model_max_length=77)


def build_text_encoder() -> CLIPTextModel:
    """Random, from torch's global generator."""
    from transformers import CLIPTextConfig, CLIPTextModel

    vocabulary = byte_vocabulary()
    end = vocabulary["<|endoftext|>"]
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=CONTEXT,
            intermediate_size=37,
            num_attention_heads=4,
            num_hidden_layers=5,
            max_position_embeddings=77,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """Random, from torch's global generator, but for the way of the noisy latent from input to output."""
    import torch
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=CONTEXT,
        norm_num_groups=GROUPS,
    )
    carried = 2 * LATENTS
    last = unet.up_blocks[-1]
    with torch.no_grad():
        unet.conv_out.bias.zero_()
        # The last residual block sees the output of conv_in again, behind WIDTHS[0] channels of its own.
        for layer in (last.resnets[-1].conv_shortcut, last.resnets[-1].conv2, last.attentions[-1].proj_out):
            layer.weight[:carried] = 0
            layer.bias[:carried] = 0
        for layer in (
            unet.conv_in.weight[:carried],
            unet.conv_in.bias[:carried],
            unet.conv_out.weight[:, :carried],
        ):
            layer.zero_()
        for latent in range(LATENTS):
            _write_pair(unet.conv_in, 2 * latent, latent)
            _read_pair(unet.conv_out, latent, 2 * latent)
        for channel in range(carried):
            last.resnets[-1].conv_shortcut.weight[channel, WIDTHS[0] + channel] = 1
    return unet


def build_vae() -> AutoencoderKL:
    """Pictures to red, green, blue (each over its root mean square) and detail (mean 0, deviation 1), and back.

    Detail is the sum over three scales of how much the brightness changes; the decoder leaves it out.
    """
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(VAE_WIDTH,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=VAE_WIDTH // 2,
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
        _write_pair(encoder.conv_in, pair, colour)
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
            _read_pair(resnet.conv2, channel, 0)
    # The pair (d, d), unlike (+d, -d), loses its mean in the norm; the signs come after it.
    encoder.conv_norm_out.weight[DETAIL + 1] = -1
    for latent, pair in enumerate((RED, GREEN, BLUE)):
        _read_pair(encoder.conv_out, latent, pair, COLOUR_SCALE)
    _read_pair(encoder.conv_out, LATENTS - 1, DETAIL)
    encoder.conv_out.bias[LATENTS:] = -30  # log variance: the posterior has no noise worth the name


def _write_decoder(decoder: Any) -> None:
    for colour, pair in enumerate((RED, GREEN, BLUE)):
        _write_pair(decoder.conv_in, pair, colour)
        _read_pair(decoder.conv_out, colour, pair, 1 / 2)  # pictures have a root mean square of about 1/2
    for block in decoder.up_blocks[:-1]:
        for channel in range(DETAIL):
            block.upsamplers[0].conv.weight[channel, channel, 1, 1] = 1


def _write_pair(conv: torch.nn.Conv2d, pair: int, source: int) -> None:
    conv.weight[pair, source, 1, 1] = 1
    conv.weight[pair + 1, source, 1, 1] = -1


def _read_pair(conv: torch.nn.Conv2d, target: int, pair: int, scale: float = 1.0) -> None:
    conv.weight[target, pair, 1, 1] = scale
    conv.weight[target, pair + 1, 1, 1] = -scale
