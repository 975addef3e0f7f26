"""Extract: an images shard becomes one shard of each asked condition, in one pass over its pictures."""

from t2i_shards.pipeline.stages.extract import Condition, Extract, batch_pictures
from t2i_shards.pipeline.stages.plan_extract import combine, plan_extract

__all__ = ["Condition", "Extract", "batch_pictures", "combine", "plan_extract"]
