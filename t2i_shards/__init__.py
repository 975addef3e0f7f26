"""t2i-shards: pictures into WebDataset shards with the conditions of T2I-Adapter, and a trainer that streams them.

In the repository the four packages are folders of the top level, and this folder holds links to them; an installed
wheel holds them here. Both are imported by the same name: `t2i_shards.extractors`, `t2i_shards.pipeline`,
`t2i_shards.adapters`, `t2i_shards.jobs`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t2i_shards.adapters.shard_dataset import ShardDataset
    from t2i_shards.pipeline.extract import ConditionMap, extract

__version__ = "0.1.0"
__all__ = ["ConditionMap", "ShardDataset", "__version__", "extract"]

_MODULES = {
    "ConditionMap": "t2i_shards.pipeline.extract",
    "ShardDataset": "t2i_shards.adapters.shard_dataset",
    "extract": "t2i_shards.pipeline.extract",
}


def __getattr__(name: str) -> Any:
    """Imported when first used: torch takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
