"""The engine: `run` does a stage for many shards, in this machine's worker pool or on Ray."""

from t2i_shards.pipeline.engine.run import RunResult, run

__all__ = ["RunResult", "run"]
