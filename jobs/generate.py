"""generate: pictures from a prompt, obeying the drawings that adapters are given."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tqdm import tqdm

from adapters.inference.config import GenerateConfig
from jobs.command import Summary


@dataclass(frozen=True)
class GenerateCommand:
    """Pictures from a prompt, with one adapter, several with weights, or none."""

    config: GenerateConfig
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        from adapters.inference.generate import paint

        with tqdm(
            total=self.config.n, desc="generate", unit="picture", leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            painted = paint(self.config, lambda done: bar.update(done - bar.n))
        first = painted.pictures[0]
        line = f"generate: {len(painted.pictures)} pictures, {painted.new} of them now; the first is {first}"
        record = {
            "command": "generate",
            "pictures": [str(path) for path in painted.pictures],
            "new": painted.new,
        }
        return Summary(line, record)
