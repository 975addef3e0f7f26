"""The engine: `run` does a stage for many shards, in this machine's worker pool or on Ray."""

from pipeline.engine.run import Outcome, run

__all__ = ["Outcome", "run"]
