"""The result of an evaluation, as JSON and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extractors.metrics.fidelity import Measure
from extractors.registry import format_of

QUALITY = (Measure("fid", "FID", "lower"), Measure("clip", "CLIP score", "higher"))
ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


@dataclass(frozen=True)
class Row:
    """One way to make the pictures. fid, clip: None where they were not measured."""

    title: str
    fidelity: Mapping[str, float]
    fid: float | None
    clip: float | None

    @property
    def measures(self) -> dict[str, float | None]:
        return {**self.fidelity, "fid": self.fid, "clip": self.clip}


@dataclass(frozen=True)
class Evaluation:
    """about: what was evaluated and how. notes: what a reader of the numbers must know."""

    about: Mapping[str, Any]
    rows: Sequence[Row]
    notes: Sequence[str]

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        rows = [{"pictures": row.title, **row.measures} for row in self.rows]
        return {"about": dict(self.about), "rows": rows, "notes": list(self.notes)}


def table_lines(evaluation: Evaluation) -> list[str]:
    """Markdown."""
    about = evaluation.about
    fidelity = format_of(about["condition"]).fidelity
    found = {name for row in evaluation.rows for name in row.measures}
    measures = [m for m in (*(fidelity.measures if fidelity else ()), *QUALITY) if m.name in found]
    return [
        f"# Condition fidelity: {about['condition']}",
        "",
        f"| {' | '.join(['pictures', *(m.title + ARROWS[m.better] for m in measures)])} |",
        f"|{'---|' * (len(measures) + 1)}",
        *(
            f"| {' | '.join([row.title, *(_show(m, row.measures.get(m.name)) for m in measures)])} |"
            for row in evaluation.rows
        ),
        "",
        f"{about['samples']} samples of {about['root']}, {_say_held_out(about)}; {about['size']}x{about['size']}, "
        f"cut from the middle; seed {about['seed']}; {about['steps']} DDIM steps, guidance {about['guidance']:g}, "
        f"scale {about['scale']:g}, acting {about['acts']}; {about['precision']} on {about['device']}.",
        "",
        f"- Adapter {about['adapter']} (sha256 {about['adapter_sha256'][:12]}…), base {about['base']} "
        f"(sha256 {about['base_sha256'][:12]}…), column {about['column']}.",
        f"- The condition is extracted again by {about['extractor']}, and held against the sample's own.",
        *(f"- {note}" for note in evaluation.notes),
    ]


def _say_held_out(about: Mapping[str, Any]) -> str:
    held_out, samples = about["held_out"], about["samples"]
    if held_out is None:
        return "of which it is not known whether the adapter was trained on them"
    if held_out in (0, samples):
        return f"{'all' if held_out else 'none'} of them held out of the training"
    return f"the first {held_out} of them held out of the training, the others not"


def _show(measure: Measure, value: float | None) -> str:
    if value is None:
        return "—"
    if measure.better is None:
        return f"{value:.0f}"
    return f"{value:.2f}" if measure.name == "fid" else f"{value:.3f}"
