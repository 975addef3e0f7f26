"""Extract: an images shard becomes one shard of each asked condition, in one pass over its pictures."""

from pipeline.extract.pictures import batch_pictures
from pipeline.extract.plan import combine, plan_extract
from pipeline.extract.stage import Condition, Extract

__all__ = ["Condition", "Extract", "batch_pictures", "combine", "plan_extract"]
