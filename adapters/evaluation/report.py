"""The result of an evaluation, as JSON and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t2i_shards.adapters.evaluation.interval import LEVEL, Estimate
from t2i_shards.extractors.metrics.fidelity import Measure
from t2i_shards.extractors.registry import format_of

if TYPE_CHECKING:
    from t2i_shards.adapters.evaluation.picture_sets import Pictures

WITH = "with its condition"
WITHOUT = "without the adapter"
ANOTHER = "with another sample's condition"
FOLLOWS_ANOTHER = f"{ANOTHER}, compared with that one"
WITHOUT_FOLLOWS_ANOTHER = f"{WITHOUT}, compared with another sample's condition"
"""The chance level for FOLLOWS_ANOTHER."""
CEILING = "its own picture, through the autoencoder"
OWN_PICTURE = "its own picture"
"""What is measured of it is what the extractor itself gets wrong."""
CONDITION, PICTURE = "condition", "true picture"
"""Titles of what a sheet shows besides."""
QUALITY = (
    Measure("distance", "kernel distance", "lower"),
    Measure("fid", "FID", "lower"),
    Measure("clip", "CLIP score", "higher"),
)
ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}

_SAMPLERS = {"ddim": "DDIM", "dpm++": "DPM-Solver++", "euler": "Euler"}


@dataclass(frozen=True)
class Row:
    """One way to make the pictures. fidelity: by name. distance, fid, clip: None where not measured."""

    title: str
    fidelity: Mapping[str, Estimate]
    distance: float | None = None
    fid: float | None = None
    clip: float | None = None

    @property
    def measures(self) -> dict[str, float | None]:
        values = {name: found.value for name, found in self.fidelity.items()}
        return {**values, "distance": self.distance, "fid": self.fid, "clip": self.clip}

    def record(self) -> dict[str, Any]:
        """JSON-able: the measures, and the intervals of those that have one."""
        bounds = {name: [found.low, found.high] for name, found in self.fidelity.items()}
        return {"pictures": self.title, **self.measures, "intervals": bounds}


@dataclass(frozen=True)
class Verdict:
    """Whether the condition is followed.

    gain: by how much the measure is better than without the adapter, of which the whole interval must be above 0;
    None where it is undefined. kind: of what is evaluated, an adapter or a ControlNet.
    """

    condition: str
    measure: Measure
    gain: Estimate | None
    kind: str = "adapter"

    @property
    def followed(self) -> bool:
        return self.gain is not None and self.gain.low > 0

    def line(self) -> str:
        name = self.measure.title
        if self.gain is None:
            return f"{self.condition}: it cannot be said whether it is followed, as {name} is undefined"
        word = "better" if self.gain.value >= 0 else "worse"
        bounds = f"{LEVEL:.0%} interval {self.gain.low:+.3f} to {self.gain.high:+.3f}"
        return (
            f"{self.condition} is {'followed' if self.followed else 'NOT followed'}: {name} is "
            f"{abs(self.gain.value):.3f} {word} than without the {self.kind} ({bounds})"
        )

    def record(self) -> dict[str, Any]:
        gain = self.gain and {"value": self.gain.value, "interval": [self.gain.low, self.gain.high]}
        return {"followed": self.followed, "measure": self.measure.name, "gain": gain, "line": self.line()}


@dataclass(frozen=True)
class Evaluation:
    """about: what was evaluated and how. notes: what a reader must know. shown: see `write_sheet`.

    pictures: by title, once for each seed, in the order of captions. These two are not recorded.
    """

    about: Mapping[str, Any]
    rows: Sequence[Row]
    notes: Sequence[str]
    verdict: Verdict | None = None
    shown: Sequence[Mapping[str, Any]] = ()
    pictures: Mapping[str, Pictures] = field(default_factory=dict, compare=False, repr=False)
    captions: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        rows = [row.record() for row in self.rows]
        verdict = self.verdict and self.verdict.record()
        found = {"about": dict(self.about), "rows": rows, "notes": list(self.notes), "verdict": verdict}
        return {**found, "shown": [dict(sample) for sample in self.shown]}


def table_lines(evaluation: Evaluation) -> list[str]:
    """Markdown."""
    about, kind = evaluation.about, str(evaluation.about["kind"])
    fidelity = format_of(about["condition"]).fidelity
    found = {name for row in evaluation.rows for name in row.measures}
    found -= set() if about["quality"] else {"fid", "clip"}
    measures = [m for m in (*(fidelity.measures if fidelity else ()), *QUALITY) if m.name in found]
    return [
        f"# Condition fidelity: {about['condition']}",
        "",
        f"| {' | '.join(['pictures', *(m.title + ARROWS[m.better] for m in measures)])} |",
        f"|{'---|' * (len(measures) + 1)}",
        *(
            f"| {' | '.join([row.title.replace('adapter', kind), *(_show(m, row) for m in measures)])} |"
            for row in evaluation.rows
        ),
        "",
        f"{about['samples']} samples of {about['root']}, {_say_held_out(about)}; {about['size']}x{about['size']}, "
        f"cut from the middle; {_say_seeds(about)}; "
        f"{about['steps']} {_SAMPLERS[about.get('sampler', 'ddim')]} steps, "
        f"guidance {about['guidance']:g}{' in guess mode' if about.get('guess_mode') else ''}, "
        f"scale {about['scale']:g}, acting {about['acts']}; {about['precision']} on {about['device']}.",
        "",
        f"- {kind[0].upper()}{kind[1:]} {about['adapter']} (sha256 {about['adapter_sha256'][:12]}…), "
        f"base {about['base']} (sha256 {about['base_sha256'][:12]}…), column {about['column']}.",
        f"- The condition is extracted again by {about['extractor']}, and compared with the sample's own.",
        f"- In brackets: {LEVEL:.0%} intervals, by bootstrap over the samples.",
        *(f"- {note}" for note in evaluation.notes),
        *(("", evaluation.verdict.line()) if evaluation.verdict else ()),
    ]


def _say_seeds(about: Mapping[str, Any]) -> str:
    first, count = about["seed"], about["seeds"]
    return f"seed {first}" if count == 1 else f"seeds {first} to {first + count - 1}"


def _say_held_out(about: Mapping[str, Any]) -> str:
    held_out, samples = about["held_out"], about["samples"]
    if held_out is None:
        return "of which it is not known whether it was trained on them"
    if held_out in (0, samples):
        return f"{'all' if held_out else 'none'} of them held out of the training"
    return f"the first {held_out} of them held out of the training, the others not"


def _show(measure: Measure, row: Row) -> str:
    value, found = row.measures.get(measure.name), row.fidelity.get(measure.name)
    if value is None:
        return "—"
    if measure.better is None:
        return f"{value:.0f}"
    interval = f" [{found.low:.3f}, {found.high:.3f}]" if found else ""
    return f"{value:.2f}" if measure.name == "fid" else f"{value:.3f}{interval}"
