"""Stages: what is done to one shard at a time, and how each is planned."""

from t2i_shards.pipeline.stages.extract import Condition, Extract, batch_pictures
from t2i_shards.pipeline.stages.plan_extract import combine, plan_extract

__all__ = ["Condition", "Extract", "batch_pictures", "combine", "plan_extract"]
