"""MMPose's networks with random weights, and the same weights as published checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.keypose import HRNET, RTMO, RTMPOSE, Network
from t2i_shards.extractors.networks.openmmlab import import_mmpose
from tests.extractors.mmpose_networks import settle

PUBLISHED = {
    RTMO: "rtmo/coco/rtmo-m_16xb16-600e_coco-640x640.py",
    HRNET: "topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-256x192.py",
    RTMPOSE: "rtmpose/coco/rtmpose-m_8xb256-420e_aic-coco-256x192.py",
}


def configs() -> Path:
    """Where mmpose keeps the configurations it was installed with."""
    return Path(str(import_mmpose().__file__)).parent / ".mim" / "configs" / "body_2d_keypoint"


def shipped_config(network: Network) -> Any:
    from mmengine.config import Config as Shipped

    config = Shipped.fromfile(configs() / PUBLISHED[network])
    if network is not RTMO:
        config.model.test_cfg.flip_test = False
    return config


def write_checkpoint(model: Any, path: Path) -> None:
    """As mmengine writes one: it also holds values that are no tensors, some of no plain type."""
    import torch
    from mmengine.logging import HistoryBuffer

    meta = {"mmengine_version": "0.7.1", "dataset_meta": {"sigmas": np.ones(17), "name": "coco"}, "epoch": 600}
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save({"meta": meta, "message_hub": {"loss": history}, "state_dict": model.state_dict()}, path)


def random_model(network: Network, picture: np.ndarray) -> Any:
    """Made by mmpose from its own configuration, with random weights under which pictures look various.

    Norms are set by one look at `picture`, uint8 (H, W, 3): without, numbers grow beyond all bounds.
    """
    import_mmpose()
    import torch
    from mmpose.apis import init_model

    torch.manual_seed(3)
    model = init_model(shipped_config(network), device="cpu")
    seen = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    seen = seen if network is RTMO else (seen - model.data_preprocessor.mean) / model.data_preprocessor.std
    settle(model, seen)
    return model


class Reference:
    """A network of mmpose's with random weights, and the same weights as a published checkpoint."""

    def __init__(self, network: Network, picture: np.ndarray, folder: Path) -> None:
        self.model = random_model(network, picture)
        path = folder / network.weights.filename
        self.folder = folder
        write_checkpoint(self.model, path)
        self.network = replace(network, weights=replace(network.weights, sha256=sha256_of(path)))
