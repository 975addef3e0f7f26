"""The table of the miniature, out of the records of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2i_shards.adapters.evaluation.report import (
    ANOTHER,
    CEILING,
    FOLLOWS_ANOTHER,
    OWN_PICTURE,
    WITH,
    WITHOUT,
    WITHOUT_FOLLOWS_ANOTHER,
)
from t2i_shards.extractors.metrics.fidelity import Measure
from t2i_shards.extractors.registry import format_of
from t2i_shards.jobs.miniature.captions import NAMED
from t2i_shards.pipeline.plain import number_of

GOAL = 0.5
"""Of text alone's error, which an adapter's may be at most."""
HEADS = (
    "condition (error)",
    "text alone",
    "with its adapter",
    "share of text alone's",
    "with another's, against its own",
    "with another's, against that one",
    "text alone, against that one",
    "true scenes through the autoencoder",
    "true scenes",
    "CPU hours",
)
OTHERS = (ANOTHER, FOLLOWS_ANOTHER, WITHOUT_FOLLOWS_ANOTHER, CEILING, OWN_PICTURE)
"""Further columns; in a row that was made by an earlier version, one may be missing."""


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: the error of each condition (1 - F1, AbsRel, 1 - PCK, 1 - mIoU, colour error), with intervals."""
    asked = rows[0]["asked"]
    sampling = asked["sampling"]
    return [
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *(_line(row) for row in rows),
        "",
        f"{asked['samples']} held-out scenes, {number_of(asked['seeds'], 'seed')} each; "
        f"{show_steps(rows)} steps of 16; "
        f"{sampling['steps']} DDIM steps, guidance {sampling['guidance']:g}, scale {_show_scales(rows)}"
        f"{', in guess mode' if sampling.get('guess_mode') else ''}; 95% intervals by bootstrap over the scenes.",
        *(f"- {row['verdict']['line']}" for row in rows),
        *_quality_lines(rows),
    ]


def _quality_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: the share of what captions name that is found in the pictures, and the pictures' kernel distance
    from the true scenes.

    Text alone and the true scenes are the same for all conditions.
    """
    shown = [("text alone", rows[0], WITHOUT)]
    for row in rows:
        condition = row["asked"]["condition"]
        shown += [(f"with {condition}", row, WITH), (f"with another's {condition}", row, ANOTHER)]
    shown.append(("true scenes", rows[0], OWN_PICTURE))
    return [
        "",
        f"| captions: share found | {' | '.join(NAMED)} | kernel distance |",
        f"|{'---|' * (len(NAMED) + 2)}",
        *(_quality_line(title, row, pictures) for title, row, pictures in shown),
    ]


def _quality_line(title: str, row: Mapping[str, Any], pictures: str) -> str:
    distance = next(each.get("distance") for each in row["rows"] if each["pictures"] == pictures)
    shares = [f"{row['captions'][pictures][name]:.2f}" for name in NAMED]
    return f"| {' | '.join([title, *shares, '—' if distance is None else f'{distance:.3f}'])} |"


def show_steps(rows: Sequence[Mapping[str, Any]]) -> str:
    """Those of most conditions, and of those that take longer."""
    steps = rows[0]["asked"]["steps"]
    longer = {
        name: times for row in rows for name, times in row["asked"].get("optimizer", {}).get("longer", {}).items()
    }
    shown = [f"{name} {round(steps * times):,}" for name, times in longer.items()]
    return f"{steps:,}{' (' + '; '.join(shown) + ')' if shown else ''}"


def _show_scales(rows: Sequence[Mapping[str, Any]]) -> str:
    """That of most conditions, and those of conditions that are sampled otherwise."""
    samplings = [row["asked"]["sampling"] for row in rows]
    own = [(name, sampling) for each in samplings for name, sampling in each.get("own", {}).items()]
    shown = [
        f"{name} {sampling['scale']:g}{'' if sampling['acts'] == 'all' else ', acting ' + sampling['acts']}"
        for name, sampling in own
    ]
    return f"{samplings[0]['scale']:g}{' (' + '; '.join(shown) + ')' if shown else ''}"


def _line(row: Mapping[str, Any]) -> str:
    condition = row["asked"]["condition"]
    fidelity = format_of(condition).fidelity
    assert fidelity is not None
    measure, found = fidelity.measures[0], {each["pictures"]: each for each in row["rows"]}
    errors = {title: find_error(measure, each) for title, each in found.items()}
    (with_adapter, *_), (without, *_) = errors[WITH], errors[WITHOUT]
    share = with_adapter / without if without else float("nan")
    cells = [
        f"{condition} ({measure.title if measure.better == 'lower' else f'1 - {measure.title}'})",
        _show(errors[WITHOUT]),
        _show(errors[WITH]),
        f"{share:.2f}{'' if share <= GOAL else ' (goal 0.5)'}",
        *(_show(errors[title]) if title in errors else "—" for title in OTHERS),
        f"{sum(row['cpu_hours'].values()):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def find_error(measure: Measure, row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Value, low and high of the error; NaN where the measure is undefined."""
    if row.get(measure.name) is None:
        return (float("nan"),) * 3
    values = (row[measure.name], *row["intervals"][measure.name])
    value, low, high = values
    return (1 - value, 1 - high, 1 - low) if measure.better == "higher" else (value, low, high)


def _show(error: tuple[float, float, float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*error)
