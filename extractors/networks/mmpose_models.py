"""MMPose's networks for people's keypoints: how one is loaded, and the configurations of the top-down ones.

The configurations, here and in `rtmo.py`, are those that ship with mmpose 1.3.2 (configs/body_2d_keypoint:
rtmo/coco, rtmpose/coco and topdown_heatmap/coco), less what only training reads. SyncBN is BN, which has the same
weights, and flip tests are off, as they double the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t2i_shards.extractors.networks.openmmlab import import_mmpose
from t2i_shards.extractors.weights.checkpoints import read_tensors

Config = dict[str, Any]

CROP = (192, 256)
"""Width and height of what a top-down network sees of a person."""
IMAGENET: Config = {
    "type": "PoseDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
}
HEATMAP: Config = {"type": "MSRAHeatmap", "input_size": CROP, "heatmap_size": (48, 64), "sigma": 2}
SIMCC: Config = {
    "type": "SimCCLabel",
    "input_size": CROP,
    "sigma": (4.9, 5.66),
    "simcc_split_ratio": 2.0,
    "normalize": False,
    "use_dark": False,
}


def load_model(config: Config, path: Path) -> Any:
    """The network with the weights of a verified file, in eval mode.

    Raises NotTensors for a file of another kind, RuntimeError for weights of another network: every name and
    shape must be there, and no other.
    """
    model = build_model(config)
    model.load_state_dict(read_tensors(path), strict=True)
    return model.eval().requires_grad_(False)


def build_model(config: Config) -> Any:
    """The network with mmpose's initial weights."""
    import_mmpose()
    from mmpose.registry import MODELS

    return MODELS.build({**config, "_scope_": "mmpose"})


def hrnet_w48() -> Config:
    """HRNet-w48 of a person's crop: a heatmap per keypoint, 64 million parameters."""
    return {
        "type": "TopdownPoseEstimator",
        "data_preprocessor": IMAGENET,
        "backbone": {
            "type": "HRNet",
            "in_channels": 3,
            "extra": {
                "stage1": _branches(1, (64,), "BOTTLENECK"),
                "stage2": _branches(1, (48, 96)),
                "stage3": _branches(4, (48, 96, 192)),
                "stage4": _branches(3, (48, 96, 192, 384)),
            },
        },
        "head": {
            "type": "HeatmapHead",
            "in_channels": 48,
            "out_channels": 17,
            "deconv_out_channels": None,
            "loss": {"type": "KeypointMSELoss", "use_target_weight": True},
            "decoder": HEATMAP,
        },
        "test_cfg": {"flip_test": False},
    }


def _branches(modules: int, channels: tuple[int, ...], block: str = "BASIC") -> Config:
    return {
        "num_modules": modules,
        "num_branches": len(channels),
        "block": block,
        "num_blocks": (4,) * len(channels),
        "num_channels": channels,
    }


def rtmpose_m() -> Config:
    """RTMPose-m of a person's crop: a row and a column of scores per keypoint (SimCC), 14 million parameters."""
    return {
        "type": "TopdownPoseEstimator",
        "data_preprocessor": IMAGENET,
        "backbone": {
            "type": "CSPNeXt",
            "arch": "P5",
            "expand_ratio": 0.5,
            "deepen_factor": 0.67,
            "widen_factor": 0.75,
            "out_indices": (4,),
            "channel_attention": True,
            "norm_cfg": {"type": "BN"},
            "act_cfg": {"type": "SiLU"},
        },
        "head": {
            "type": "RTMCCHead",
            "in_channels": 768,
            "out_channels": 17,
            "input_size": CROP,
            "in_featuremap_size": (6, 8),
            "simcc_split_ratio": 2.0,
            "final_layer_kernel_size": 7,
            "gau_cfg": {
                "hidden_dims": 256,
                "s": 128,
                "expansion_factor": 2,
                "dropout_rate": 0.0,
                "drop_path": 0.0,
                "act_fn": "SiLU",
                "use_rel_bias": False,
                "pos_enc": False,
            },
            "loss": {"type": "KLDiscretLoss", "use_target_weight": True, "beta": 10.0, "label_softmax": True},
            "decoder": SIMCC,
        },
        "test_cfg": {"flip_test": False},
    }
