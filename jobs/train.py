"""train: a T2I-Adapter from the verified stream, on a frozen base."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from adapters.config import TrainConfig
from jobs.command import Summary

if TYPE_CHECKING:
    from adapters.log import LogLine


@dataclass(frozen=True)
class TrainCommand:
    """Train an adapter; the finished one, which diffusers loads, is in RUN/adapter."""

    config: TrainConfig
    json: bool = False
    """Print the summary as JSON."""

    @classmethod
    def short(cls, root: Path, out: Path, steps: int, held_out: int) -> TrainCommand:
        """The demo's training: minutes on two cores."""
        return cls(
            TrainConfig(
                root=str(root),
                condition="sketch",
                out=out,
                base="tiny",
                adapter="tiny",
                steps=steps,
                lr=3e-3,
                size=128,
                validation=held_out,
                threads=1,
            )
        )

    def run(self) -> Summary:
        from adapters.loop import train

        with show_steps(self.config.steps) as progress:
            summary = train(self.config, progress)
        line = (
            f"train: {summary.steps} steps, {summary.new_steps} of them now; validation loss "
            f"{summary.first_validation:.4f} before, {summary.last_validation:.4f} after; {summary.adapter}; "
            f"{summary.seconds:.1f} s; the base is unchanged"
        )
        return Summary(line, {"command": "train", **asdict(summary)})


@contextmanager
def show_steps(steps: int) -> Iterator[Callable[[LogLine], None]]:
    """A progress callback: a bar on a terminal, a line at each validation elsewhere."""
    with tqdm(total=steps, desc="train", unit="step", leave=False, disable=not sys.stderr.isatty()) as bar:

        def advance(line: LogLine) -> None:
            bar.update(line.step - bar.n)
            if line.validation is not None:
                bar.set_postfix(validation=f"{line.validation:.4f}")
                if bar.disable:
                    said = f"train: step {line.step} of {steps}, validation loss {line.validation:.4f}"
                    print(said, file=sys.stderr, flush=True)

        yield advance
