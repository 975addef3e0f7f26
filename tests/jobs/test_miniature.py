"""The miniature's table: errors and their intervals out of evaluations, a row that is done is not made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.adapters.evaluation.report import ANOTHER, CEILING, FOLLOWS_ANOTHER, OWN_PICTURE, WITH, WITHOUT
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.miniature import MiniatureCommand
from t2i_shards.jobs.miniature.recipe import describe_recipe
from t2i_shards.jobs.miniature.table import table_lines
from t2i_shards.pipeline.errors import RequestError

TITLES = (WITH, WITHOUT, ANOTHER, FOLLOWS_ANOTHER, CEILING, OWN_PICTURE)


def row(condition: str, measure: str, *values: float) -> dict[str, Any]:
    rows = [
        {"pictures": title, measure: value, "intervals": {measure: [value - 0.01, value + 0.02]}}
        for title, value in zip(TITLES, values, strict=True)
    ]
    asked = {"condition": condition, "samples": 8, "seeds": 2, "steps": 100, **describe_recipe()}
    hours = {"training": 0.5, "evaluation": 0.25}
    return {"asked": asked, "cpu_hours": hours, "rows": rows, "verdict": {"line": f"{condition} is followed"}}


def test_errors_are_1_minus_what_should_be_high_with_the_bounds_turned_round() -> None:
    lines = table_lines(
        [row("sketch", "edge_f1", 0.7, 0.3, 0.3, 0.7, 0.9, 1.0), row("depth", "abs_rel", *[0.4] * 6)]
    )
    sketch, depth = (line.strip("| ").split(" | ") for line in lines[2:4])
    assert sketch[0] == "sketch (1 - edge F1 (2 px))"
    assert sketch[1] == "0.700 [0.680, 0.710]"
    assert sketch[2] == "0.300 [0.280, 0.310]"
    assert sketch[3] == "0.43"
    assert (depth[0], depth[1], depth[3]) == ("depth (depth AbsRel)", "0.400 [0.390, 0.420]", "1.00 (goal 0.5)")
    assert sketch[-1] == "0.75"
    assert lines[-2:] == ["- sketch is followed", "- depth is followed"]


def test_a_measure_that_is_undefined_is_no_traceback() -> None:
    undefined = row("keypose", "pck", *[0.5] * 6)
    for each in undefined["rows"]:
        each["pck"] = None
    assert "nan" in table_lines([undefined])[2]


def test_a_row_that_is_done_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = parse(f"miniature --out {tmp_path} --conditions sketch --samples 8 --scenes 9 --steps 7".split())
    assert isinstance(command, MiniatureCommand)
    monkeypatch.setattr(MiniatureCommand, "_do", lambda self, asked: None)
    done = row("sketch", "edge_f1", *[0.5] * 6)
    done["asked"] = {
        "condition": "sketch",
        "scenes": 9,
        "steps": 7,
        "samples": 8,
        "seeds": 3,
        **describe_recipe(),
    }
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "sketch.json").write_text(json.dumps(done))
    summary = command.run()
    assert summary.record["rows"] == [done]
    assert json.loads((tmp_path / "table.json").read_text()) == {"rows": [done]}
    assert (tmp_path / "table.md").read_text().splitlines() == table_lines([done])


@pytest.mark.parametrize("asked", [{"steps": 0}, {"samples": 1}, {"conditions": ()}])
def test_what_cannot_be_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        MiniatureCommand(**asked)
