"""Rows 4 to 11 of the miniature's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t2i_shards.jobs.miniature.row import Row
from t2i_shards.jobs.miniature.table import show_steps

HEADS = ("condition", "pictures", "error", "share of text alone's", "other numbers")


def further_lines(row: Row, parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown, of a row's parts."""
    first, hours = parts[0]["asked"], sum(part["cpu_hours"] for part in parts)
    return [
        f"### {row.number}. {row.title}",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *(_line(finding) for part in parts for finding in part["findings"]),
        "",
        f"{first['samples']} held-out scenes, one seed; {show_steps(parts)} steps; {hours:.2f} CPU hours, "
        "not counting what was there already.",
    ]


def _line(finding: Mapping[str, Any]) -> str:
    more = ", ".join(f"{name} {_number(value)}" for name, value in finding["more"].items())
    cells = [finding["condition"], finding["what"], _show(finding["error"]), _show(finding["share"]), more]
    return f"| {' | '.join(cells)} |"


def _show(bounds: Sequence[float] | None) -> str:
    return "—" if bounds is None else "{:.3f} [{:.3f}, {:.3f}]".format(*bounds)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
