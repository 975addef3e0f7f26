"""evaluate: how closely an adapter's pictures follow the condition, and how good they are, as a table."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tqdm import tqdm

from adapters.evaluation.config import EvaluateConfig
from jobs.command import Summary


@dataclass(frozen=True)
class EvaluateCommand:
    """Extract the condition again from generated pictures, also from some without adapter or its condition."""

    config: EvaluateConfig
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        from adapters.evaluation.evaluate import evaluate
        from adapters.evaluation.report import table_lines

        hidden = not sys.stderr.isatty()
        with tqdm(desc="evaluate", unit="picture", leave=False, disable=hidden) as bar:

            def advance(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            evaluation = evaluate(self.config, advance)
        return Summary("\n".join(table_lines(evaluation)), {"command": "evaluate", **evaluation.record()})
