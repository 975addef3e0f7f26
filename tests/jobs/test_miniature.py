"""The miniature's table: errors and their intervals, and that a row that is done is not made again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.base.mini import read_sums
from t2i_shards.adapters.evaluation.interval import Counts
from t2i_shards.adapters.evaluation.report import (
    ANOTHER,
    CEILING,
    FOLLOWS_ANOTHER,
    OWN_PICTURE,
    WITH,
    WITHOUT,
    WITHOUT_FOLLOWS_ANOTHER,
)
from t2i_shards.adapters.training.config import VisitConfig
from t2i_shards.extractors.registry import format_of
from t2i_shards.extractors.weights.file import SHIPPED
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.miniature.captions import NAMED
from t2i_shards.jobs.miniature.conditions import JUDGED
from t2i_shards.jobs.miniature.controlnet import RATE
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.further_table import further_lines
from t2i_shards.jobs.miniature.generation import GenerationConfig
from t2i_shards.jobs.miniature.other_base import PLAN
from t2i_shards.jobs.miniature.recipe import (
    LONGER,
    MEASURING_VARIANTS,
    NAMES,
    NOISE_OFFSET_LEVELS,
    NOISE_OFFSETS,
    OPTIMIZER,
    OWN_SAMPLINGS,
    SAMPLING,
    describe_recipe,
    plan_evaluation,
    plan_training,
)
from t2i_shards.jobs.miniature.row import is_same
from t2i_shards.jobs.miniature.rows import FURTHER
from t2i_shards.jobs.miniature.table import table_lines

TITLES = (WITH, WITHOUT, ANOTHER, FOLLOWS_ANOTHER, CEILING, OWN_PICTURE, WITHOUT_FOLLOWS_ANOTHER)


def row(condition: str, measure: str, *values: float) -> dict[str, Any]:
    rows = [
        {"pictures": title, measure: value, "intervals": {measure: [value - 0.01, value + 0.02]}}
        for title, value in zip(TITLES, values, strict=True)
    ]
    recipe = describe_recipe([name for name in NAMES if name == condition])
    asked = {"condition": condition, "samples": 8, "seeds": 2, "steps": 100, **recipe}
    hours = {"training": 0.5, "evaluation": 0.25}
    captions = {title: dict.fromkeys(NAMED, 0.1 * place) for place, title in enumerate(JUDGED)}
    verdict = {"line": f"{condition} is followed"}
    return {"asked": asked, "cpu_hours": hours, "rows": rows, "verdict": verdict, "captions": captions}


def test_errors_are_1_minus_what_should_be_high_with_the_bounds_turned_round() -> None:
    lines = table_lines(
        [row("sketch", "edge_f1", 0.7, 0.3, 0.3, 0.7, 0.9, 1.0, 0.2), row("depth", "abs_rel", *[0.4] * 7)]
    )
    sketch, depth = (line.strip("| ").split(" | ") for line in lines[2:4])
    assert sketch[0] == "sketch (1 - edge F1 (2 px))"
    assert sketch[1] == "0.700 [0.680, 0.710]"
    assert sketch[2] == "0.300 [0.280, 0.310]"
    assert sketch[3] == "0.43"
    assert (depth[0], depth[1], depth[3]) == ("depth (depth AbsRel)", "0.400 [0.390, 0.420]", "1.00 (goal 0.5)")
    assert sketch[6] == "0.800 [0.780, 0.810]"
    assert sketch[-1] == "0.75"
    assert [line for line in lines if line.startswith("- ")] == ["- sketch is followed", "- depth is followed"]


def test_the_table_says_how_far_captions_are_followed_in_each_way() -> None:
    sketch, depth = row("sketch", "edge_f1", *[0.5] * 7), row("depth", "abs_rel", *[0.5] * 7)
    depth["captions"][WITH]["sky"] = 0.75
    next(each for each in depth["rows"] if each["pictures"] == WITH)["distance"] = 0.0625
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in table_lines([sketch, depth])}
    assert found["captions: share found"][1] == "sky"
    shown = {
        title: (cells[1], cells[-1].strip(" |")) for title, cells in found.items() if len(cells) == len(NAMED) + 1
    }
    assert shown == {
        "captions: share found": ("sky", "kernel distance"),
        "text alone": ("0.00", "—"),
        "with sketch": ("0.10", "—"),
        "with another's sketch": ("0.20", "—"),
        "with depth": ("0.75", "0.062"),
        "with another's depth": ("0.20", "—"),
        "true scenes": ("0.30", "—"),
    }


def test_a_row_of_an_earlier_version_lacks_what_was_not_measured_then() -> None:
    earlier = row("sketch", "edge_f1", *[0.5] * 7)
    del earlier["rows"][-1]
    assert table_lines([earlier])[2].strip("| ").split(" | ")[6] == "—"


def test_a_recipe_of_one_condition_is_nothing_to_the_rows_of_others() -> None:
    assert describe_recipe(("sketch", "depth"))["optimizer"] == asdict(OPTIMIZER)
    before = {**describe_recipe(("color",)), "optimizer": asdict(OPTIMIZER)}
    assert not is_same(before, describe_recipe(("color",)))
    recorded = ("batch", "micro_batch", "lr", "timesteps", "weighting", "clip", "ema")
    first = {name: getattr(OPTIMIZER, name) for name in recorded}
    now = describe_recipe(("sketch",))
    assert is_same({**now, "optimizer": first}, now), "options that came later had their defaults"
    assert not is_same({**now, "optimizer": {**first, "lr": 1.0}}, now)
    both = describe_recipe(("sketch", "color"))
    own = {"noise_offset": NOISE_OFFSETS["color"], "noise_offset_levels": NOISE_OFFSET_LEVELS["color"]}
    assert both["optimizer"] == {**asdict(OPTIMIZER), **{name: {"color": of} for name, of in own.items()}}
    visits = {
        name: plan_training(name, Path("data"), Path("run"), 1).config.visits for name in ("sketch", "color")
    }
    assert visits == {"sketch": VisitConfig(), "color": VisitConfig(**own)}


def test_conditions_that_take_longer_are_trained_longer_and_others_are_not_made_again(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path, 4, 100, 4, 1, 2)
    for name in NAMES:
        steps = round(100 * LONGER.get(name, 1))
        assert experiment.steps_of(name) == steps
        assert experiment.run_of(name).name.startswith(f"{name}-{steps}")
        now = describe_recipe((name,))
        assert is_same({**now, "optimizer": asdict(OPTIMIZER)}, now) == (name not in {*LONGER, *NOISE_OFFSETS})


def test_a_row_is_made_again_where_another_network_measures_it_and_nowhere_else() -> None:
    shipped = read_sums(SHIPPED)
    for name in NAMES:
        now = describe_recipe((name,))
        at_first = {**now, "extractors": {file: sha for file, sha in shipped.items() if "-" not in file}}
        unrecorded = {key: value for key, value in now.items() if key != "extractors"}
        assert is_same(at_first, now) == is_same(unrecorded, now) == (name not in MEASURING_VARIANTS)
        for file in now["extractors"]:
            assert not is_same({**now, "extractors": {**now["extractors"], file: "another"}}, now)
        evaluation = plan_evaluation(name, Path("data"), Path("run"), Path("out"), 2, 1)
        assert evaluation.variant == MEASURING_VARIANTS.get(name, "mini")


def test_how_one_condition_is_sampled_is_nothing_to_the_rows_of_others() -> None:
    assert describe_recipe(("sketch", "depth"))["sampling"] == SAMPLING.record()
    before = {**describe_recipe(("color",)), "sampling": SAMPLING.record()}
    assert not is_same(before, describe_recipe(("color",)))
    for name in ("sketch", "keypose", "color"):
        sampling = OWN_SAMPLINGS.get(name, SAMPLING)
        assert plan_evaluation(name, Path("data"), Path("run"), Path("out"), 2, 1).sampling == sampling
    rows = [row("sketch", "edge_f1", *[0.5] * 7), row("keypose", "pck", *[0.5] * 7)]
    assert "scale 1.5, in guess mode;" in "\n".join(table_lines(rows))
    assert f"100 (keypose {round(100 * LONGER['keypose'])}) steps of 16" in "\n".join(table_lines(rows))
    rows += [row("color", "color_error", *[0.5] * 7)]
    assert "scale 1.5 (color 2, acting beginning), in guess mode;" in "\n".join(table_lines(rows))


def test_an_adapter_alone_and_one_of_several_act_as_its_condition_says() -> None:
    adapter: Any = None  # which one makes no difference
    assert GenerationConfig().sampling == GenerationConfig({"sketch": adapter}).sampling == SAMPLING
    alone = GenerationConfig({"color": adapter})
    assert (alone.sampling, alone.weights) == (OWN_SAMPLINGS["color"], {})
    both = GenerationConfig({"depth": adapter, "keypose": adapter})
    assert (both.sampling, both.weights) == (SAMPLING, {})
    composed = GenerationConfig({"sketch": adapter, "color": adapter})
    assert composed.sampling == SAMPLING
    assert composed.weights == {"color": OWN_SAMPLINGS["color"].scale / SAMPLING.scale}
    assert composed.active_steps == {"color": "beginning"}
    assert alone.active_steps == both.active_steps == {}
    late = replace(OWN_SAMPLINGS["color"], active_steps="late")
    assert GenerationConfig({"color": adapter}, late).sampling == late


def test_a_measure_that_is_undefined_is_no_traceback() -> None:
    undefined = row("keypose", "pck", *[0.5] * 7)
    for each in undefined["rows"]:
        each["pck"] = None
    assert "nan" in table_lines([undefined])[2]


def counts(*hits: int) -> Counts:
    """Of scenes with ten edges each, of which so many are found and right."""
    fidelity = format_of("sketch").fidelity
    assert fidelity is not None
    edges = np.zeros((8, 8), np.uint8)
    edges[3] = 255
    per_sample = [fidelity.count(edges if hit else np.zeros_like(edges), edges) for hit in hits]
    return Counts(np.stack(per_sample), fidelity.evaluate)


def test_a_finding_is_an_error_and_its_share_of_text_alones() -> None:
    found = find("with", "sketch", counts(1, 1, 1, 0), counts(1, 0, 0, 0), {"parameters": 7})
    assert found.error is not None
    assert found.error[0] == pytest.approx(1 / 7)
    assert found.share is not None
    assert found.share[0] == pytest.approx(1 / 7 / (3 / 5))
    assert found.share[1] <= found.share[0] <= found.share[2]
    nothing = find("text alone", "sketch", counts(0), counts(1))
    assert (nothing.error, nothing.share) == ((1, 1, 1), None)


def test_which_settings_decide_a_row_alone() -> None:
    settings = {row.number: row.settings for row in FURTHER if row.settings}
    assert settings.keys() == {5, 11}
    assert json.loads(json.dumps(settings[5]))["fine_tuning"]["rate"] == PLAN.rate
    assert settings[11] == {"rate": RATE}


def test_the_lines_of_a_row() -> None:
    part = {
        "asked": {"samples": 8, "steps": 1500},
        "cpu_hours": 0.25,
        "findings": [Finding("tiny", "sketch", None, (0.5, 0.4, 0.61), {"GFLOP": 1.25}).record()],
    }
    lines = further_lines(FURTHER[2], [part, part])
    assert lines[0] == "### 6. sizes of the adapter"
    assert lines[4] == lines[5] == "| sketch | tiny | — | 0.500 [0.400, 0.610] | GFLOP 1.25 |"
    assert "8 held-out scenes, one seed; 1,500 steps; 0.50 CPU hours" in lines[-1]
    longer = {**part["asked"], "optimizer": {"longer": {"seg": 1.5}}}
    lines = further_lines(FURTHER[2], [part, {**part, "asked": longer}])
    assert "; 1,500 (seg 2,250) steps; " in lines[-1]


@pytest.mark.soak
def test_the_whole_command_in_small(tmp_path: Path) -> None:
    """All rows of two conditions, from nothing to the table; the second time nothing is made."""
    words = "--scenes 24 --steps 2 --samples 4 --few 4 --seeds 1 --engine local"
    both = "sketch", "color"
    asked = "--out", str(tmp_path), "--conditions", *both, "--ablations", *both, *words.split()
    command = parse(["miniature", *asked])
    summary = command.run()
    assert [each["asked"]["condition"] for each in summary.record["rows"]] == ["sketch", "color"]
    further = summary.record["further"]
    assert list(further) == [str(number) for number in range(4, 12)]
    assert {number for number, parts in further.items() if len(parts) == 1} == {"4", "10"}
    findings = [finding for parts in further.values() for part in parts for finding in part["findings"]]
    assert all(finding["error"] for finding in findings)
    (edited,) = (finding for finding in findings if "pixels changed outside" in finding["more"])
    assert edited["more"]["pixels changed outside"] == 0
    controlnet = next(finding for finding in findings if finding["what"] == "ControlNet")
    alone = next(finding for finding in findings if finding["what"] == "text alone" and finding["more"])
    assert controlnet["more"]["GFLOP a picture"] > 1.2 * alone["more"]["GFLOP a picture"]
    sheets = {path.name for path in tmp_path.glob("*.png")}
    assert sheets >= {"sketch.png", "04-sketch-color.png", "05-color.png", "10-sketch.png", "11-color.png"}
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert command.run().record == summary.record
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == files
