"""A row of the miniature that is done is not made again, unless something else is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from t2i_shards.jobs import miniature
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.miniature import MiniatureCommand
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding
from t2i_shards.jobs.miniature.recipe import ENLARGED
from t2i_shards.jobs.miniature.row import Case, Row, each_alone


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Case]]:
    """What was made of two rows that take no time, in order; the scenes are there."""
    calls: list[tuple[int, Case]] = []

    def toy(number: int) -> Row:
        def make(experiment: Experiment, case: Case) -> Sequence[Finding]:
            calls.append((number, case))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return [Finding(f"call {len(calls)}", case[0], (0.5, 0.4, 0.6), None, {"parameters": 1234.0})]

        return Row(number, f"row {number}", each_alone, make)

    monkeypatch.setattr(miniature, "FURTHER", (toy(4), toy(5)))
    monkeypatch.setattr(Experiment, "prepare", lambda self: None)
    return calls


def test_what_is_done_is_not_made_again_and_stays_in_the_table(
    made: list[tuple[int, Case]], tmp_path: Path
) -> None:
    words = f"miniature --out {tmp_path} --conditions sketch depth --rows 4-5 --samples 8 --steps 7"
    command = parse(words.split())
    assert isinstance(command, MiniatureCommand)
    with pytest.raises(KeyboardInterrupt):
        command.run()
    first = (tmp_path / "table.md").read_text()
    assert "call 1" in first
    command.run()
    sketch, depth = ("sketch",), ("depth",)
    assert made == [(4, sketch), (4, depth), (4, depth), (5, sketch), (5, depth)]
    table = (tmp_path / "table.md").read_text()
    replace(command, rows=("5",), conditions=("depth",)).run()
    assert (tmp_path / "table.md").read_text() == table
    assert len(made) == 5
    assert "| sketch | call 1 | 0.500 [0.400, 0.600] | — | parameters 1,234 |" in table
    assert table.count("call ") == 4
    assert list(json.loads((tmp_path / "table.json").read_text())["further"]) == ["4", "5"]


def test_rows_that_train_are_made_of_fewer_conditions_and_others_that_are_there_stay_in_the_table(
    made: list[tuple[int, Case]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap, dear = miniature.FURTHER
    monkeypatch.setattr(miniature, "FURTHER", (cheap, replace(dear, trains=True)))
    made += [(0, ()), (0, ())]  # no call is interrupted
    command = MiniatureCommand(tmp_path, ("4-5",), ("sketch", "depth", "seg"), ablations=("depth", "color"))
    command.run()
    assert made[2:] == [(4, ("sketch",)), (4, ("depth",)), (4, ("seg",)), (5, ("depth",))]
    table = (tmp_path / "table.md").read_text()
    replace(command, ablations=()).run()
    assert (tmp_path / "table.md").read_text() == table
    assert len(made) == 6


def test_what_is_asked_for_otherwise_is_made_anew(made: list[tuple[int, Case]], tmp_path: Path) -> None:
    command = MiniatureCommand(tmp_path, ("4",), ("sketch",), steps=7)
    command.run()
    made.append((0, ()))  # the second call is the one that is interrupted
    replace(command, steps=8).run()
    replace(command, few=9).run()
    assert [number for number, _ in made] == [4, 0, 4, 4]
    part = tmp_path / "rows" / "04-sketch.json"
    part.write_text(part.read_text()[:40])
    replace(command, few=9).run()
    assert len(made) == 5


def test_a_changed_recipe_makes_a_row_anew_but_a_part_from_before_it_was_recorded_counts(
    made: list[tuple[int, Case]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = MiniatureCommand(tmp_path, ("4",), ("sketch",), steps=7)
    command.run()
    made.append((0, ()))  # the second call is the one that is interrupted
    path = tmp_path / "rows" / "04-sketch.json"
    part = json.loads(path.read_text())
    assert {"enlarged", "extractors"} <= part["asked"].keys()
    for name in ("enlarged", "extractors"):
        del part["asked"][name]
    path.write_text(json.dumps(part))
    command.run()
    assert len(made) == 2
    monkeypatch.setattr(miniature, "FURTHER", (replace(miniature.FURTHER[0], settings={"rate": 2.0}),))
    command.run()
    assert len(made) == 2
    path.write_text(json.dumps({**part, "asked": {**part["asked"], "rate": 1.0}}))
    command.run()
    assert len(made) == 3
    monkeypatch.setitem(ENLARGED, "depth", 512)
    command.run()
    assert len(made) == 3, "that is another condition's"
    monkeypatch.setitem(ENLARGED, "sketch", 512)
    command.run()
    assert len(made) == 4


def test_parts_that_recorded_the_enlarged_pictures_of_all_conditions_count(
    made: list[tuple[int, Case]], tmp_path: Path
) -> None:
    command = MiniatureCommand(tmp_path, ("4",), ("keypose",), steps=7)
    command.run()
    made.append((0, ()))  # the second call is the one that is interrupted
    path = tmp_path / "rows" / "04-keypose.json"
    part = json.loads(path.read_text())
    for keypose, calls in ((ENLARGED["keypose"], 2), (192, 3)):
        earlier = {**part["asked"], "enlarged": {"depth": 999, "keypose": keypose}}
        path.write_text(json.dumps({**part, "asked": earlier}))
        command.run()
        assert len(made) == calls
    del part["asked"]["enlarged"]
    path.write_text(json.dumps(part))
    command.run()
    assert len(made) == 4, "it was not recorded, and was another one"
