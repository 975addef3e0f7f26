"""RTMO's configurations: the published one, and the small one that this project trains."""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.extractors.networks.mmpose_models import Config

COCO = "configs/_base_/datasets/coco.py"
SWISH = {"type": "Swish"}


def rtmo_m() -> Config:
    """RTMO-m, 640 x 640: one stage, 22 million parameters."""
    norm, widen, deepen, features = {"type": "BN", "momentum": 0.03, "eps": 0.001}, 0.75, 0.67, 384
    return {
        **_one_stage(640, score_threshold=0.1, overlap=0.65),
        "backbone": {
            "type": "CSPDarknet",
            "deepen_factor": deepen,
            "widen_factor": widen,
            "out_indices": (2, 3, 4),
            "spp_kernal_sizes": (5, 9, 13),
            "norm_cfg": norm,
            "act_cfg": SWISH,
        },
        "neck": {
            "type": "HybridEncoder",
            "in_channels": [192, 384, 768],
            "deepen_factor": deepen,
            "widen_factor": widen,
            "hidden_dim": 256,
            "output_indices": [1, 2],
            "encoder_cfg": {
                "self_attn_cfg": {"embed_dims": 256, "num_heads": 8, "dropout": 0.0},
                "ffn_cfg": {
                    "embed_dims": 256,
                    "feedforward_channels": 1024,
                    "ffn_drop": 0.0,
                    "act_cfg": {"type": "GELU"},
                },
            },
            "projector": _mapper([256, 256], features),
        },
        "head": _head(
            strides=(16, 32),
            branch={
                "in_channels": 256,
                "cls_feat_channels": 256,
                "channels_per_group": 36,
                "pose_vec_channels": features,
                "widen_factor": widen,
            },
            classifier=_classifier(features, 128, 128, 128, (192, 256)),
        ),
    }


def rtmo_mini() -> Config:
    """RTMO in small, 256 x 256: YOLOX's backbone without its last stage, one map of stride 16, 1.3 million."""
    norm, act, features = {"type": "BN", "momentum": 0.03, "eps": 0.001}, {"type": "SiLU"}, 160
    stages = [[16, 32, 1, True, False], [32, 80, 2, True, False], [80, 192, 4, True, True]]
    return {
        **_one_stage(256, score_threshold=0.3, overlap=0.5),
        "backbone": {
            "type": "CSPDarknet",
            "arch_ovewrite": stages,
            "out_indices": (3,),
            "norm_cfg": norm,
            "act_cfg": act,
        },
        "neck": _mapper([192], 192),
        "head": _head(
            strides=(16,),
            branch={
                "in_channels": 96,
                "cls_feat_channels": 64,
                "channels_per_group": 20,
                "pose_vec_channels": features,
                "widen_factor": 1.0,
                "act_cfg": act,
            },
            classifier=_classifier(features, 48, 48, 64, (48, 64)),
        ),
    }


def _one_stage(side: int, score_threshold: float, overlap: float) -> Config:
    return {
        "type": "BottomupPoseEstimator",
        "data_preprocessor": {
            "type": "PoseDataPreprocessor",
            "pad_size_divisor": 32,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        },
        "test_cfg": {"input_size": (side, side), "score_thr": score_threshold, "nms_thr": overlap},
    }


def _mapper(inputs: list[int], outputs: int) -> Config:
    return {
        "type": "ChannelMapper",
        "in_channels": inputs,
        "kernel_size": 1,
        "out_channels": outputs,
        "act_cfg": None,
        "norm_cfg": {"type": "BN"},
        "num_outs": len(inputs),
    }


def _classifier(inputs: int, features: int, attention: int, position: int, bins: tuple[int, int]) -> Config:
    """RTMO's dynamic coordinate classifier."""
    return {
        "in_channels": inputs,
        "feat_channels": features,
        "num_bins": bins,
        "spe_channels": position,
        "gau_cfg": {
            "s": attention,
            "expansion_factor": 2,
            "dropout_rate": 0.0,
            "drop_path": 0.0,
            "act_fn": "SiLU",
            "pos_enc": "add",
        },
    }


def _head(strides: Sequence[int], branch: Config, classifier: Config) -> Config:
    """The head cannot be built without its losses and its assigner, which nothing here calls."""
    norm = {"type": "BN", "momentum": 0.03, "eps": 0.001}
    return {
        "type": "RTMOHead",
        "num_keypoints": 17,
        "featmap_strides": tuple(strides),
        "head_module_cfg": {"num_classes": 1, "stacked_convs": 2, "norm_cfg": norm, "act_cfg": SWISH, **branch},
        "assigner": {
            "type": "SimOTAAssigner",
            "dynamic_k_indicator": "oks",
            "oks_calculator": {"type": "PoseOKS", "metainfo": COCO},
        },
        "prior_generator": {"type": "MlvlPointGenerator", "centralize_points": True, "strides": list(strides)},
        "dcc_cfg": classifier,
        "overlaps_power": 0.5,
        "loss_cls": {"type": "VariFocalLoss", "reduction": "sum", "use_target_weight": True, "loss_weight": 1.0},
        "loss_bbox": {
            "type": "IoULoss",
            "mode": "square",
            "eps": 1e-16,
            "reduction": "sum",
            "loss_weight": 5.0,
        },
        "loss_oks": {"type": "OKSLoss", "reduction": "none", "metainfo": COCO, "loss_weight": 30.0},
        "loss_vis": {"type": "BCELoss", "use_target_weight": True, "reduction": "mean", "loss_weight": 1.0},
        "loss_mle": {"type": "MLECCLoss", "use_target_weight": True, "loss_weight": 1e-2},
        "loss_bbox_aux": {"type": "L1Loss", "reduction": "sum", "loss_weight": 1.0},
    }
