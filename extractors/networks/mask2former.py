"""Mask2Former (Cheng et al., CVPR 2022) for COCO's panoptic classes, through transformers, for inference."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_shards.extractors.weights.checkpoints import read_tensors

BACKBONE = {
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
CONFIG = {"num_labels": 133, "num_queries": 100, "decoder_layers": 10, "encoder_layers": 6}
"""The network's shape, as in config.json of facebook/mask2former-swin-tiny-coco-panoptic."""

LAST_WIDTH = 768
UNREAD = tuple(f"model.pixel_level_module.encoder.swin.layernorm.{name}" for name in ("weight", "bias"))
"""Swin's last norm, which its use as a backbone has no part for and the published file does not hold."""


class Mask2Former(nn.Module):
    """(N, 3, H, W) RGB normalised as ImageNet, sides multiples of 32 -> (N, 133, H, W) scores >= 0.

    As the publisher's semantic inference: each query's class probabilities, without the null class, weigh its
    mask probabilities, which are upsampled as logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        found = self.model(pixel_values=x)
        masks = F.interpolate(found.masks_queries_logits, x.shape[2:], mode="bilinear", align_corners=False)
        classes = found.class_queries_logits.softmax(dim=2)[:, :, :-1]
        return torch.einsum("nqk,nqhw->nkhw", classes, masks.sigmoid_())


def load_mask2former(path: Path) -> Mask2Former:
    """The network of the published safetensors file, in eval mode. Raises NotTensors or RuntimeError."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    from t2i_shards.extractors.networks.published import load_published

    state = read_tensors(path)
    # Tables of indices that transformers of the time stored, and that follow from the window's size.
    state = {name: tensor for name, tensor in state.items() if not name.endswith("relative_position_index")}
    unread = {name: torch.zeros(LAST_WIDTH) for name in UNREAD}
    config = Mask2FormerConfig(backbone_config=SwinConfig(**BACKBONE), **CONFIG)
    return Mask2Former(load_published(Mask2FormerForUniversalSegmentation, config, unread | state))
