"""The tiny Stable Diffusions that are built on the machine, `--base tiny` and `tiny-xl`: no file, no network.

A base with nothing but random weights cannot show that an adapter learns: its latents are noise and its
prediction has nothing to do with the picture. So the weights that matter are set by hand. Its autoencoder
gives each 8x8 cell its colour and how much detail it holds. Its UNet takes the noisy latent itself for the
noise, which is right at the last time step and wrong by the share of the picture in it before; that share is
what an adapter can learn. The rest of the UNet and the text encoders are random, from a seed.

Values pass norms and activations in pairs of channels (+x, -x). A group of just this pair is scaled by the
root mean square of x and keeps its sign, and silu(x) - silu(-x) = x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2i_shards.extractors.networks.mini_vae import LATENTS, read_pair, write_pair

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from t2i_shards.adapters.options import Family

SEED = 0
WIDTHS: dict[Family, tuple[int, ...]] = {"sd": (32, 32, 32, 64), "sdxl": (32, 32, 64)}
CONTEXT = 32  # of one text encoder
POOLED = 24
SIZE_WIDTH = 8  # of each of the six numbers that give SDXL the picture's size
GROUPS = 16  # of the first 32 channels: pairs


def byte_vocabulary() -> dict[str, int]:
    """CLIP's byte-level vocabulary without merges: 256 bytes, 256 bytes that end a word, two specials."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def build_tokenizer() -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=byte_vocabulary(), merges=[], model_max_length=77)


def build_text_encoders(
    family: Family,
) -> tuple[CLIPTextModel] | tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Random, from torch's global generator."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    first = CLIPTextModel(_text_config())
    return (first, CLIPTextModelWithProjection(_text_config())) if family == "sdxl" else (first,)


def _text_config() -> CLIPTextConfig:
    from transformers import CLIPTextConfig

    vocabulary = byte_vocabulary()
    end = vocabulary["<|endoftext|>"]
    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=CONTEXT,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=5,
        max_position_embeddings=77,
        projection_dim=POOLED,
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=end,
        pad_token_id=end,
    )


def build_unet(family: Family) -> UNet2DConditionModel:
    """Random, from torch's global generator, but for the way of the noisy latent from input to output."""
    import torch
    from diffusers import UNet2DConditionModel

    width = WIDTHS[family][0]
    if family == "sdxl":
        blocks: dict[str, Any] = {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 2 * CONTEXT,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_WIDTH,
            "projection_class_embeddings_input_dim": POOLED + 6 * SIZE_WIDTH,
        }
    else:
        blocks = {
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "cross_attention_dim": CONTEXT,
        }
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=WIDTHS[family], layers_per_block=2, norm_num_groups=GROUPS, **blocks
    )
    carried = 2 * LATENTS
    last = unet.up_blocks[-1]
    ends = [last.resnets[-1].conv_shortcut, last.resnets[-1].conv2]
    if family == "sd":
        ends.append(last.attentions[-1].proj_out)
    with torch.no_grad():
        unet.conv_out.bias.zero_()
        # The last residual block sees the output of conv_in again, behind `width` channels of its own.
        for layer in ends:
            layer.weight[:carried] = 0
            layer.bias[:carried] = 0
        for layer in (
            unet.conv_in.weight[:carried],
            unet.conv_in.bias[:carried],
            unet.conv_out.weight[:, :carried],
        ):
            layer.zero_()
        for latent in range(LATENTS):
            write_pair(unet.conv_in, 2 * latent, latent)
            read_pair(unet.conv_out, latent, 2 * latent)
        for channel in range(carried):
            last.resnets[-1].conv_shortcut.weight[channel, width + channel] = 1
    return unet
