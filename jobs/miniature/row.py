"""A row of the miniature: what it needs, how it is made, and that it is made once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from t2i_shards.adapters.training.config import OptimizerConfig
from t2i_shards.extractors.atomic import write_json
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding
from t2i_shards.jobs.miniature.recipe import NAMES, Name, find_networks

Case = tuple[Name, ...]
"""The conditions that a part of a row is about."""
ENLARGED_AT_FIRST = {"depth": 256, "seg": 256}
"""What `ENLARGED` was before parts recorded it: at first all of it, now what is their own conditions'."""


@dataclass(frozen=True)
class Row:
    """cases: of the conditions asked for, those that the row has parts about. make: a part's findings.

    settings: JSON-able, what decides this row alone; changed, its parts are made again. trains: whether each
    part trains further networks, for which it takes long.
    """

    number: int
    title: str
    cases: Callable[[Sequence[Name]], Sequence[Case]]
    make: Callable[[Experiment, Case], Sequence[Finding]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False


def each_alone(conditions: Sequence[Name]) -> Sequence[Case]:
    return [(condition,) for condition in conditions]


def find_part(row: Row, experiment: Experiment, case: Case) -> Mapping[str, Any] | None:
    """A part that was made as it is asked for now; None where there is none."""
    found = read_part(_file(row, experiment, case))
    return found if found is not None and is_same(found["asked"], _ask(row, experiment, case)) else None


def is_same(asked: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a part's recorded request is the present one. Settings that older parts did not record had their
    present values, except for ENLARGED_AT_FIRST, the networks, which were mini's, and options of the optimizer,
    which had their defaults. At first, parts recorded the networks of all conditions.
    """
    enlarged = asked.get("enlarged", ENLARGED_AT_FIRST)
    networks = asked.get("extractors") or find_networks((name, "mini") for name in NAMES)
    optimizer = {**asdict(OptimizerConfig()), **asked.get("optimizer", now["optimizer"])}
    earlier = {
        "enlarged": {name: enlarged.get(name) for name in now["enlarged"]},
        "extractors": {name: networks.get(name) for name in now["extractors"]},
        "optimizer": optimizer,
    }
    return {**now, **asked, **earlier} == now


def make_part(row: Row, experiment: Experiment, case: Case) -> Mapping[str, Any]:
    """Make a part, unless it was made."""
    done = find_part(row, experiment, case)
    if done is not None:
        return done
    started = time.process_time()
    findings = row.make(experiment, case)
    made = {
        "asked": _ask(row, experiment, case),
        "cpu_hours": (time.process_time() - started) / 3600,
        "findings": [finding.record() for finding in findings],
    }
    write_json(_file(row, experiment, case), made)
    experiment.say(f"row {row.number}, {row.title}: {' + '.join(case)} done")
    return made


def read_part(path: Path) -> dict[str, Any] | None:
    """What this command wrote; None where there is no file, or one of another program."""
    try:
        part: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return part if isinstance(part, dict) and "asked" in part else None


def _file(row: Row, experiment: Experiment, case: Case) -> Path:
    return experiment.out / "rows" / f"{row.number:02d}-{'-'.join(case)}.json"


def _ask(row: Row, experiment: Experiment, case: Case) -> dict[str, Any]:
    """JSON-able, and all that decides the part."""
    asked = {
        "row": row.number,
        "case": list(case),
        **experiment.asked(case),
        **row.settings,
        "samples": experiment.few,
    }
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain
