"""MMPose on today's torch, with no compiled operator.

mmpose 1.3.2 imports three things that are unavailable or not needed for what this project runs
(RTMO, RTMPose, HRNet, LiteHRNet, SimCC, ViPNAS):

- `xtcocotools`: its wheels are built against numpy 1. pycocotools, from which it was forked, reads the same files
  (but has no `sigmas`, so mmpose's own `CocoMetric` does not run).
- `mmcv.ops`: mmcv's operators do not compile against today's torch; mmcv-lite has the Python half of them only.
  ED-Pose alone cannot be imported without, and needs one name. DEKR and PoseWarper notice by themselves.
- `mmdet.utils`: the RTMO head takes two names from it that mmpose has as well.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

INSTALL = "pip install 't2i-shards[openmmlab]', then pip install --no-deps mmpose==1.3.2"
"""How mmpose is installed: with its dependencies it cannot be, one of them does not build."""
_NEEDLESS_WARNINGS = (
    r"`torch\.cuda\.amp\.autocast",
    r"torch\.meshgrid: in an upcoming release",
    r"The metainfo config file",
)
"""What mmpose's networks say while they are built and run: they call by old names, and find a file elsewhere."""


def import_mmpose() -> ModuleType:
    """Import mmpose with all its models registered, and return it.

    Build a model with `mmpose.registry.MODELS.build({**config, "_scope_": "mmpose"})`; without the scope mmengine
    looks for the inner parts among its own. The shipped configs of RTMPose look for their backbone in mmdet: take
    that `_scope_` out, mmpose registers the same class.

    Raises:
        ImportError: the first import in this process failed. It is not tried again: a second one runs on what the
            first left in mmengine's registries ("scope mmpose exists"), and its error would hide the first.
    """
    outcome = _import_once()
    if isinstance(outcome, ModuleNotFoundError):
        raise ImportError(f"mmpose cannot be imported: {outcome.name} is not installed; {INSTALL}") from outcome
    if isinstance(outcome, Exception):
        raise ImportError(f"mmpose cannot be imported in this process: {outcome!r}") from outcome
    return outcome


@functools.cache
def _import_once() -> ModuleType | Exception:
    # mmpose's transforms import albumentations, which asks the network for its newest version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            importlib.import_module("mmpose.models")
            mmpose = importlib.import_module("mmpose")
    except Exception as error:
        return error
    for message in _NEEDLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    return mmpose


@contextmanager
def _stand_ins() -> Iterator[None]:
    """The missing names, in `sys.modules` while mmpose is imported: later imports find what is really there.

    In particular there is no `mmcv._ext`, by which mmengine decides whether there are operators.
    """
    import pycocotools.coco
    import pycocotools.cocoeval
    import pycocotools.mask
    from mmpose.utils import reduce_mean
    from mmpose.utils.typing import ConfigType

    modules = {
        "xtcocotools": pycocotools,
        "xtcocotools.coco": pycocotools.coco,
        "xtcocotools.cocoeval": pycocotools.cocoeval,
        "xtcocotools.mask": pycocotools.mask,
        "mmcv.ops": _module("mmcv.ops", MultiScaleDeformableAttention=_NotCompiled),
        "mmdet": _module("mmdet"),
        "mmdet.utils": _module("mmdet.utils", ConfigType=ConfigType, reduce_mean=reduce_mean),
    }
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def _module(name: str, **names: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(names)
    return module


class _NotCompiled:
    def __init__(self, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            "this model needs MMCV's compiled operators, which do not build on today's torch"
        )
