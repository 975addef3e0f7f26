"""evaluate: how far an adapter's pictures follow their condition, and how good they are, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.options import Unnamed
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.progress import show_pictures


@dataclass(frozen=True)
class EvaluateCommand:
    """How closely an adapter's pictures follow their condition, and how good they are.

    The same pictures are made without the adapter, and with another sample's condition, to compare with.
    """

    config: Unnamed[EvaluateConfig]
    json: bool = False
    """Print the summary as JSON."""

    @classmethod
    def short(cls, root: Path, run: Path) -> EvaluateCommand:
        """The demo's evaluation: half a minute on a core."""
        sampling = Sampling(steps=12, guidance=2.0, scale=1.5, guess_mode=True)
        return cls(
            EvaluateConfig(str(root), "sketch", "mini", run, sampling=sampling, variant="mini", quality=False)
        )

    def run(self) -> Summary:
        from t2i_shards.adapters.evaluation.evaluate import evaluate
        from t2i_shards.adapters.evaluation.report import table_lines

        with show_pictures("evaluate", measured=True) as progress:
            evaluation = evaluate(self.config, progress)
        return Summary("\n".join(table_lines(evaluation)), {"command": "evaluate", **evaluation.record()})
