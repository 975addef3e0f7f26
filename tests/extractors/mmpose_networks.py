"""MMPose's networks with random weights whose outputs depend on the picture and stay finite."""

from typing import Any


def settle(model: Any, seen: Any) -> None:
    """Draw the weights, so that RTMO's scores are around 0.1, few at 0.3, and its boxes span some cells.

    Small ones, because large weights also enlarge the rounding differences between kernels.
    """
    import torch
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        outputs = model.train().head(model.extract_feat(seen))
        model.eval()
        if not hasattr(model.head, "head_module"):
            return
        branch, (scores, boxes, _, seen_scores, poses) = model.head.head_module, outputs
        for layer, level in zip(branch.out_cls, scores, strict=True):
            layer.weight /= 3 * level.std()
            layer.bias.fill_(-2.2)
        for layer, level in zip(branch.out_bbox, boxes, strict=True):
            layer.weight /= 3 * level.std()
            layer.bias.copy_(torch.tensor([0.0, 0.0, 1.5, 1.5]))
        for layer, level in zip(branch.out_kpt_vis, seen_scores, strict=True):
            layer.weight /= 3 * level.std()
        for layer, level in zip(branch.out_pose, poses, strict=True):
            layer.weight /= level.std()
        classifier = model.head.dcc
        classifier.gau.o.weight *= 0.02
        classifier.x_fc.weight *= 0.2
        classifier.y_fc.weight *= 0.2
