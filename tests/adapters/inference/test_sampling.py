from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from t2i_shards.adapters.inference.config import AdapterSpec, Sampling, parse_active_steps, parse_adapter
from t2i_shards.pipeline.errors import RequestError


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_the_thirds_share_the_steps_out_in_order(steps: int) -> None:
    """Every step belongs to one third, and to "all"."""
    acting = {
        part: [step for step in range(steps) if Sampling(steps=steps, active_steps=part).is_active(step)]
        for part in ("beginning", "middle", "late", "all")
    }
    assert acting["beginning"] + acting["middle"] + acting["late"] == acting["all"] == list(range(steps))
    assert max(map(len, (acting["beginning"], acting["middle"], acting["late"]))) <= -(-steps // 3)


def test_shares_mean_what_they_say() -> None:
    half = Sampling(steps=10, active_steps="0.2-0.6")
    assert [step for step in range(10) if half.is_active(step)] == [2, 3, 4, 5]
    assert parse_active_steps("0-1/3") == parse_active_steps("beginning") == (Fraction(0), Fraction(1, 3))


def test_shares_may_be_what_a_program_prints() -> None:
    assert parse_active_steps(f"{1 / 3}-{0.1 + 0.2 + 0.1}") == (
        Fraction(str(1 / 3)),
        Fraction(str(0.1 + 0.2 + 0.1)),
    )


def test_with_scale_zero_no_step_is_acted_on() -> None:
    assert not any(Sampling(steps=5, scale=0).is_active(step) for step in range(5))


@pytest.mark.parametrize(
    "active_steps",
    ["early", "0.5", "0.6-0.2", "0.2-0.2", "-0.1-0.5", "0-1.1", "a-b", "0-1/0", "0-1e-999999999", ""],
)
def test_what_is_no_part_is_refused(active_steps: str) -> None:
    with pytest.raises(RequestError, match="--acts must be"):
        Sampling(active_steps=active_steps)


def test_a_path_may_have_colons(tmp_path: Path) -> None:
    for name in ("a:0.5", "a:1:late", "12:30:00"):
        (tmp_path / name).mkdir()
        path = str(tmp_path / name)
        assert parse_adapter(f"sketch={path}") == AdapterSpec("sketch", path)
        assert parse_adapter(f"sketch={path}:2:0-1/2") == AdapterSpec("sketch", path, 2, "0-1/2")
    assert parse_adapter("sketch=runs/13:30:05/adapter") == AdapterSpec("sketch", "runs/13:30:05/adapter")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"guidance": 0.5}])
def test_wrong_values_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError, match="must be at least 1"):
        Sampling(**wrong)  # type: ignore[arg-type]
