"""How pictures are sampled. Imports no torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import RequestError

TIME_STEPS = 1000
"""Of every Stable Diffusion's schedule; DDIM begins at the second."""
THIRD = Fraction(1, 3)
PARTS = {
    "all": (Fraction(0), Fraction(1)),
    "beginning": (Fraction(0), THIRD),
    "middle": (THIRD, 2 * THIRD),
    "late": (2 * THIRD, Fraction(1)),
}
"""Parts of the denoising, as shares of its steps; the thirds are those of the paper (arXiv 2302.08453, 3.3)."""


@dataclass(frozen=True)
class Sampling:
    """DDIM with classifier-free guidance."""

    steps: int = 50
    """Denoising steps."""
    guidance: float = 7.5
    """Classifier-free guidance; 1 goes without, and takes half the time."""
    scale: float = 1.0
    """What the adapters' features are multiplied with; 0 is the base alone."""
    acts: str = "all"
    """When the adapters act: all, beginning, middle, late (a third of the steps each), or shares such as 0-0.5."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RequestError(f"--steps must be at least 1, not {self.steps}")
        if self.steps >= TIME_STEPS:
            raise RequestError(f"--steps must be below {TIME_STEPS}, not {self.steps}")
        if self.guidance < 1:
            raise RequestError(f"--guidance must be at least 1, which is none, not {self.guidance}")
        parse_acts(self.acts)

    def acts_at(self, step: int) -> bool:
        """Whether the adapters act at this step, 0 being the first and noisiest."""
        start, end = parse_acts(self.acts)
        return self.scale != 0 and start <= Fraction(step, self.steps) < end


def parse_acts(text: str) -> tuple[Fraction, Fraction]:
    """ "late" or "0.2-0.6" -> (start, end), shares of the steps, the end not included. Raises RequestError."""
    if text in PARTS:
        return PARTS[text]
    start, _, end = text.partition("-")
    try:
        part = Fraction(start), Fraction(end)
    except (ValueError, ZeroDivisionError):
        part = Fraction(1), Fraction(0)
    if not 0 <= part[0] < part[1] <= 1:
        raise RequestError(f"--acts must be {', '.join(PARTS)}, or shares from 0 to 1 such as 0-0.5, not {text}")
    return part
