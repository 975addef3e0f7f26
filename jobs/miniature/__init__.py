"""miniature: the paper in small, on the base mini and this project's scenes: one table, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.messages import terminal
from t2i_shards.jobs.miniature.conditions import find_condition, make_condition
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.further_table import further_lines
from t2i_shards.jobs.miniature.overview import write_overview
from t2i_shards.jobs.miniature.recipe import NAMES, Name
from t2i_shards.jobs.miniature.row import Case, Row, find_part, make_part
from t2i_shards.jobs.miniature.rows import ALL, FIRST, FURTHER, choose_rows
from t2i_shards.jobs.miniature.table import table_lines
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class MiniatureCommand:
    """Train adapters on the base mini, evaluate them on unseen scenes, make the table.

    Rows: 1 text alone, 2 each condition with its adapter, 3 with another scene's condition; 4 two conditions
    composed; 5 on a fine-tuned base; 6 sizes of the adapter; 7 time steps; 8 scales of the encoder; 9 thirds of
    the denoising; 10 an edit inside a mask; 11 against a ControlNet. What is done is not made again: the same
    command continues where it stopped.
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["--output-dir"])] = Path("runs/miniature")
    """Where scenes, adapters, pictures, table.md, table.json, overview.png and a sheet for each row go."""
    rows: tuple[str, ...] = (f"{min(ALL)}-{max(ALL)}",)
    """Which rows are made: numbers and ranges, such as 1-3 8. Others that are there stay in the table."""
    conditions: tuple[Name, ...] = NAMES
    """Of which conditions."""
    ablations: tuple[Name, ...] = ("sketch",)
    """Of which of them rows 6, 7, 8 and 11 are made, which train seven further networks for each."""
    scenes: int = 4000
    """How many scenes the adapters learn from."""
    steps: Annotated[int, tyro.conf.arg(aliases=["--max-steps"])] = 1500
    """Training steps of each adapter, of 16 samples."""
    samples: int = 256
    """How many held-out scenes each adapter is evaluated on."""
    few: int = 64
    """On how many of them in rows 4 to 11."""
    seeds: int = 3
    """How many pictures of each scene in each way, in rows 1 to 3."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def __post_init__(self) -> None:
        for name, least in (("scenes", 1), ("steps", 1), ("samples", 2), ("few", 2), ("seeds", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"--{name} must be at least {least}, not {getattr(self, name)}")
        if not self.conditions:
            raise RequestError("--conditions must name at least one condition")
        long = {row.number for row in FURTHER if row.trains}
        if choose_rows(self.rows) <= long and not {*self.conditions} & {*self.ablations}:
            raise RequestError(
                f"--rows {' '.join(self.rows)} must be of a condition that --ablations names too, and it names "
                f"{_list(self.ablations)}"
            )
        if not choose_rows(self.rows) - {row.number for row in self._list_skipped()}:
            raise RequestError(
                f"--rows {' '.join(self.rows)} must be of what --conditions names, {_list(self.conditions)}: "
                f"{self._describe_skipped()}"
            )

    def run(self) -> Summary:
        from t2i_shards.extractors.batch import fixed_threads

        few = min(self.few, self.samples)
        experiment = Experiment(self.out, self.scenes, self.steps, self.samples, self.seeds, few, self.engine)
        experiment.prepare()
        with fixed_threads(1):  # networks this small are no faster on several, which spin where others work too
            self._make(experiment)
        lines, record = self._write_table(experiment)
        return Summary("\n".join(lines), {"command": "miniature", **record})

    def _make(self, experiment: Experiment) -> None:
        """The chosen rows, the table after each."""
        chosen = choose_rows(self.rows)
        if skipped := self._describe_skipped():
            named = _list(self.conditions)
            terminal.warning(f"miniature: left out, as --conditions names {named}: {skipped}")
        if chosen & FIRST:
            for condition in self.conditions:
                make_condition(experiment, condition)
                self._write_table(experiment)
        for row in FURTHER:
            for case in self._choose_cases(row) if row.number in chosen else ():
                make_part(row, experiment, case)
                self._write_table(experiment)

    def _choose_cases(self, row: Row) -> Sequence[Case]:
        return row.cases([name for name in self.conditions if not row.trains or name in self.ablations])

    def _list_skipped(self) -> list[Row]:
        """Rows that were asked for and are made of no condition."""
        chosen = choose_rows(self.rows)
        return [row for row in FURTHER if row.number in chosen and not self._choose_cases(row)]

    def _describe_skipped(self) -> str:
        """Their numbers, and of which conditions they are made; "" where there are none."""
        numbers = dict[str, list[str]]()
        for row in self._list_skipped():
            cases = " or ".join(" and ".join(case) for case in row.cases(NAMES))
            made_of = f"{_list(self.ablations)}, by --ablations" if row.trains else cases
            numbers.setdefault(made_of, []).append(str(row.number))
        return "; ".join(
            f"row{'s' * (len(some) > 1)} {', '.join(some)} (of {made_of})" for made_of, some in numbers.items()
        )

    def _write_table(self, experiment: Experiment) -> tuple[Sequence[str], Mapping[str, Any]]:
        """Of all that was made as it is asked for, whether it was chosen now or not."""
        first = list(filter(None, (find_condition(experiment, condition) for condition in NAMES)))
        further = [(row, parts) for row in FURTHER if (parts := _find_parts(row, experiment))]
        lines = table_lines(first) if first else []
        for row, parts in further:
            lines += ["", *further_lines(row, parts)]
        record = {"rows": first, "further": {str(row.number): parts for row, parts in further}}
        write_json(self.out / "table.json", record)
        write_file(self.out / "table.md", "\n".join(lines) + "\n")
        write_overview(self.out, first)
        return lines, record


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _find_parts(row: Row, experiment: Experiment) -> list[Mapping[str, Any]]:
    return list(filter(None, (find_part(row, experiment, case) for case in row.cases(NAMES))))
