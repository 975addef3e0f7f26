"""Depth Anything V2 small (Yang et al., NeurIPS 2024), through transformers, for inference."""

from pathlib import Path

from torch import Tensor, nn

from t2i_shards.extractors.weights.checkpoints import read_tensors

STRIDE = 14
"""Sides must be multiples of this, a patch of the vision transformer."""

CONFIG = {
    "reassemble_factors": [4, 2, 1, 0.5],
    "neck_hidden_sizes": [48, 96, 192, 384],
    "fusion_hidden_size": 64,
    "head_in_index": -1,
    "head_hidden_size": 32,
    "reassemble_hidden_size": 384,
    "patch_size": STRIDE,
}
BACKBONE = {
    "image_size": 518,
    "patch_size": STRIDE,
    "hidden_size": 384,
    "num_attention_heads": 6,
    "out_indices": [3, 6, 9, 12],
    "reshape_hidden_states": False,
}
"""config.json of the published repository, depth-anything/Depth-Anything-V2-Small-hf."""


class DepthAnything(nn.Module):
    """(N, 3, H, W) RGB normalised as ImageNet, sides multiples of 14 -> (N, H, W) inverse depth, >= 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.model(pixel_values=x).predicted_depth
        return depth


def load_depth_anything(path: Path) -> DepthAnything:
    """The network of the published safetensors file, in eval mode. Raises NotTensors or RuntimeError."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    from t2i_shards.extractors.networks.published import load_published

    config = DepthAnythingConfig(backbone_config=Dinov2Config(**BACKBONE), **CONFIG)
    return DepthAnything(load_published(DepthAnythingForDepthEstimation, config, read_tensors(path)))
