"""generate: pictures from a prompt, following the control images that adapters are given."""

from __future__ import annotations

from dataclasses import dataclass

from t2i_shards.adapters.inference.config import GenerateConfig
from t2i_shards.adapters.options import Unnamed
from t2i_shards.jobs.command import Summary
from t2i_shards.jobs.progress import show_pictures
from t2i_shards.pipeline.plain import number_of


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
        made = number_of(len(generated.pictures), "picture")
        line = f"generate: {made}, {generated.new} of them now; the first is {first}"
        record = {
            "command": "generate",
            "pictures": [str(path) for path in generated.pictures],
            "new": generated.new,
        }
        return Summary(line, record)
