import subprocess
import sys

import pytest

from t2i_shards.extractors.networks.openmmlab import import_mmpose

# In a process of its own: an import fails once.
BROKEN_AT_FIRST = """
import sys
from t2i_shards.extractors.networks.openmmlab import import_mmpose

sys.modules["munkres"] = None  # mmpose asks for it when it has already registered its scope
for attempt in range(2):
    try:
        import_mmpose()
    except ImportError as error:
        assert "munkres is not installed; pip install 't2i-shards[openmmlab]', then" in str(error), error
    else:
        raise AssertionError("imported without munkres")
    assert "xtcocotools" not in sys.modules and "mmcv.ops" not in sys.modules
    sys.modules.pop("munkres", None)
print("refused twice")
"""


def test_import_leaves_no_false_module() -> None:
    assert import_mmpose() is import_mmpose() is sys.modules["mmpose"]
    false = [name for name in sys.modules if name.partition(".")[0] in ("mmdet", "xtcocotools")]
    false += [name for name in sys.modules if name.startswith(("mmcv.ops", "mmcv._ext"))]
    assert not false


def test_rest_of_mmpose_needs_the_names_no_more() -> None:
    import_mmpose()
    import mmpose.apis
    import mmpose.datasets
    import mmpose.engine
    import mmpose.evaluation

    assert mmpose.apis.init_model


def test_mmengine_sees_that_there_are_no_operators() -> None:
    import_mmpose()
    import torch
    from mmengine.model.utils import revert_sync_batchnorm
    from mmpose.models.heads.hybrid_heads.dekr_head import has_mmcv_full

    assert not has_mmcv_full
    assert not isinstance(revert_sync_batchnorm(torch.nn.SyncBatchNorm(4)), torch.nn.SyncBatchNorm)


def test_model_that_needs_an_operator_says_so() -> None:
    import_mmpose()
    from mmpose.models.heads.transformer_heads.edpose_head import MultiScaleDeformableAttention

    with pytest.raises(NotImplementedError, match="compiled operators"):
        MultiScaleDeformableAttention(embed_dims=8)


@pytest.mark.soak
def test_failed_import_is_reported_again_and_not_retried() -> None:
    command = [sys.executable, "-c", BROKEN_AT_FIRST]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.stdout.endswith("refused twice\n"), result.stderr
