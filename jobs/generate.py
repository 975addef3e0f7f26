"""generate: pictures from a prompt, following the control images that adapters are given."""

from __future__ import annotations

from dataclasses import dataclass

from t2i_shards.adapters.inference.config import GenerateConfig
from t2i_shards.adapters.options import Unnamed
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.progress import show_pictures


@dataclass(frozen=True)
class GenerateCommand:
    """Pictures from a prompt, with one adapter, several with weights, or none."""

    config: Unnamed[GenerateConfig]
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        from t2i_shards.adapters.inference.generate import generate_images

        with show_pictures("generate") as progress:
            generated = generate_images(self.config, progress)
        first = generated.pictures[0]
        line = f"generate: {len(generated.pictures)} pictures, {generated.new} of them now; the first is {first}"
        record = {
            "command": "generate",
            "pictures": [str(path) for path in generated.pictures],
            "new": generated.new,
        }
        return Summary(line, record)
