"""Evaluation of an adapter whose pictures are known beforehand, on a small dataset, and once for real."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.base.tiny import WIDTHS
from t2i_shards.adapters.evaluation import evaluate as module
from t2i_shards.adapters.evaluation import picture_sets
from t2i_shards.adapters.evaluation.evaluate import evaluate
from t2i_shards.adapters.evaluation.image_metrics import Networks
from t2i_shards.adapters.evaluation.report import table_lines
from t2i_shards.adapters.evaluation.samples import choose_samples
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.extractors.weights.file import WeightsUnavailable
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.report.training import read_evaluation
from tests.adapters.evaluation.toys import SAMPLES, TOYS, Length, ask, begin_run, make_colours, numbers


def test_obedience_fid_and_score_of_known_pictures(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    evaluation = evaluate(ask(root, adapter, tmp_path), networks=TOYS)
    with_, without, unasked, wrong, follows, copied, own = numbers(evaluation, "edge_f1")
    assert with_ == follows == copied == own == 1
    assert without == unasked == 0
    assert wrong is not None
    assert 0 < wrong < 0.7
    assert numbers(evaluation, "fid")[0] == pytest.approx(0, abs=1e-6)
    # The wrong conditions are the samples' own in another order: the same pictures, as a set.
    assert numbers(evaluation, "fid")[3] == pytest.approx(0, abs=1e-6)
    assert numbers(evaluation, "fid")[1] > 10  # type: ignore[operator]
    captions = [caption for call in obedient[:2] for caption in call]
    clip = numbers(evaluation, "clip")
    assert clip.pop(4) is clip.pop(2) is None
    assert clip == pytest.approx([np.mean([len(c) / 100 for c in captions])] * 5)
    assert [len(call) for call in obedient] == [3, 1] * 3


def test_pictures_without_the_adapter_are_compared_with_the_condition_that_another_was_given(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next of four samples: pictures that happen to be that one's follow it, and not their own."""
    asked = ask(root, adapter, tmp_path, batch=4)
    samples = [decode_rgb(sample.members["jpg"]) for sample in choose_samples(asked).samples]
    following = np.stack([samples[(place + 1) % 4] for place in range(4)])
    paint = picture_sets.generate

    def lucky(base: Any, adapter_inputs: Sequence[AdapterInput], *others: Any, **options: Any) -> np.ndarray:
        return paint(base, adapter_inputs, *others, **options) if adapter_inputs else following

    monkeypatch.setattr(picture_sets, "generate", lucky)
    rows = {row.title: row.measures["edge_f1"] for row in evaluate(asked, networks=TOYS).rows}
    assert rows["without the adapter, compared with another sample's condition"] == 1
    assert rows["without the adapter"] == rows["with another sample's condition"] != 1


def test_the_table_says_what_was_done(root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path) -> None:
    evaluation = evaluate(ask(root, adapter, tmp_path, seed=7), networks=TOYS)
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record == json.loads(json.dumps(evaluation.record()))
    assert (record["about"]["samples"], record["about"]["seed"], record["about"]["steps"]) == (4, 7, 1)
    text = (tmp_path / "evaluation.md").read_text()
    assert text.splitlines() == table_lines(evaluation)
    assert "| with its condition | 1.000 [1.000, 1.000] |" in text
    assert "| with another sample's condition, compared with that one | 1.000 [1.000, 1.000] | — |" in text
    assert text.splitlines()[-1].startswith("canny is followed: edge F1 (2 px) is 1.000 better than without")
    assert f"4 samples of {root}" in text
    assert "seed 7" in text
    assert "not known whether it was trained on them" in text
    assert "canny, variant default" in text
    assert (tmp_path / "sheet.png").exists()
    shown = read_evaluation(tmp_path)
    assert shown is not None
    assert shown.verdict == text.splitlines()[-1]
    assert len(shown.rows) == 4
    cells = {cell.column: cell.image for cell in shown.rows[0].cells}
    anothers = ["another's", "with another's"]
    assert list(cells) == ["condition", "without", "with", *anothers, "autoencoder", "true picture"]
    conditions = [next(cell.image for cell in row.cells if cell.column == "condition") for row in shown.rows]
    places = [place for place, image in enumerate(conditions) if np.array_equal(image, cells["another's"])]
    assert places
    assert 0 not in places
    assert np.array_equal(cells["with"], cells["true picture"])  # type: ignore[arg-type]
    assert cells["without"] is not None
    assert (cells["without"] == 128).all()


def test_several_seeds_are_several_pictures_of_the_same_samples(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    evaluation = evaluate(ask(root, adapter, tmp_path, seeds=2), lambda *of: told.append(of), TOYS)
    assert [len(call) for call in obedient] == [3, 1] * 6
    assert told[-1] == (24, 24)
    assert len(list((tmp_path / "pictures" / "with").glob("*.png"))) == 8
    (about,) = [line for line in table_lines(evaluation) if line.startswith("4 samples")]
    assert "seeds 0 to 1" in about
    one = evaluate(ask(root, adapter, tmp_path), networks=TOYS)
    assert len(obedient) == 12
    assert evaluation.verdict == one.verdict


def test_pictures_without_the_adapter_are_shared_by_evaluations_of_others(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    first, second, alone = (
        evaluate(
            ask(root, adapter, tmp_path / name, without=shared, sampling=Sampling(1, 1, scale)), networks=TOYS
        )
        for name, shared, scale in (
            ("first", tmp_path / "shared", 1.0),
            ("second", tmp_path / "shared", 1.5),
            ("alone", None, 1.5),
        )
    )
    assert [len(call) for call in obedient] == [3, 1] * (3 + 2 + 3), "the second made none without the adapter"
    assert len(list((tmp_path / "shared").glob("*.png"))) == 4
    assert not (tmp_path / "second" / "pictures" / "without").exists()
    assert second.rows == alone.rows == first.rows


def test_what_is_there_is_not_made_again(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle, run again, and asked for more: only what is missing is made."""
    paint = picture_sets.generate

    def stopped(*example: Any, **options: Any) -> np.ndarray:
        if len(obedient) == 3:
            raise KeyboardInterrupt
        return paint(*example, **options)

    with monkeypatch.context() as patch:
        patch.setattr(picture_sets, "generate", stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluate(ask(root, adapter, tmp_path), networks=TOYS)
    obedient.clear()
    first = evaluate(ask(root, adapter, tmp_path), networks=TOYS)
    assert [len(call) for call in obedient] == [1, 3, 1]
    again = evaluate(ask(root, adapter, tmp_path), networks=TOYS)
    assert len(obedient) == 3
    assert again == first
    evaluate(ask(root, adapter, tmp_path, samples=3), networks=TOYS)
    # The third of three gets the first one's condition and not the fourth's.
    assert len(obedient) == 4


def test_pictures_of_another_request_are_made_again(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    """Another seed changes all pictures, another adapter those that it acts in."""
    whole = {"samples": SAMPLES, "batch": SAMPLES}
    evaluate(ask(root, adapter, tmp_path, **whole), networks=TOYS)
    evaluate(ask(root, adapter, tmp_path, **whole, seed=1), networks=TOYS)
    assert [len(call) for call in obedient] == [SAMPLES] * 6
    other = tmp_path / "other"
    other.mkdir()
    save_adapter(make_adapter(adapter_config_for("tiny", 1, WIDTHS["sd"]), 1), other)
    evaluate(ask(root, other, tmp_path, **whole), networks=TOYS)
    assert len(obedient) == 8


def test_without_networks_the_table_has_dashes_and_says_why(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    def missing(weights: Path | None, device: str) -> Any:
        raise WeightsUnavailable("inception.pth: not in --weights X")

    evaluation = evaluate(
        ask(root, adapter, tmp_path), networks=Networks(missing, lambda w, d: Length(), make_colours)
    )
    assert numbers(evaluation, "fid") == [None] * 7
    assert numbers(evaluation, "clip").count(None) == 2
    assert "FID was not measured: inception.pth: not in --weights X." in evaluation.notes
    (few,) = (note for note in evaluation.notes if "too few" in note)
    assert few.startswith("4 samples: ")
    row = next(line for line in table_lines(evaluation) if line.startswith("| with its"))
    assert row.split("|")[4].strip() == "—"


def test_nothing_is_fetched_where_quality_is_not_asked_for(
    root: str, adapter: Path, obedient: list[list[str]], tmp_path: Path
) -> None:
    def fetch(weights: Path | None, device: str) -> Any:
        raise AssertionError

    evaluation = evaluate(
        ask(root, adapter, tmp_path, quality=False), networks=Networks(fetch, fetch, make_colours)
    )
    assert numbers(evaluation, "fid") == numbers(evaluation, "clip") == [None] * 7
    assert "FID" not in "\n".join(table_lines(evaluation))


def test_for_real_the_same_twice(
    root: str, adapter: Path, tmp_path: Path, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny base paints: same noise for all ways, and with scale 0 the adapter is as if it were not there."""
    monkeypatch.setattr(module, "load_base", lambda *asked: tiny)
    silent = ask(root, adapter, tmp_path / "a", samples=2, sampling=Sampling(steps=1, guidance=1, scale=0))
    evaluation = evaluate(silent, networks=TOYS)
    rows = [row.measures for row in evaluation.rows]
    assert rows[0] == rows[1] == rows[3] != rows[5]
    assert evaluation.verdict is not None
    assert not evaluation.verdict.followed
    assert "canny is NOT followed" in table_lines(evaluation)[-1]
    heard = ask(root, adapter, tmp_path / "b", samples=2)
    measured = [row.measures for row in evaluate(heard, networks=TOYS).rows]
    assert measured[0] != measured[1] == rows[1]
    assert [row.measures for row in evaluate(heard, networks=TOYS).rows] == measured


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "too many": (lambda tmp: {"samples": 9}, "--samples 9 must not exceed the 8"),
    "another condition": (lambda tmp: {}, "was trained on depth"),
    "too large": (lambda tmp: {"size": 192}, "--size 192 must not exceed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    case: str, root: str, adapter: Path, tmp_path: Path
) -> None:
    changes, said = REFUSED[case]
    path = adapter
    if case == "another condition":
        path = begin_run(tmp_path / "run", adapter, condition="depth", seed=0)
    with pytest.raises(RequestError, match=said):
        evaluate(ask(root, path, tmp_path / "out", **changes(tmp_path)), networks=TOYS)


def test_an_adapter_outside_a_run_needs_a_place_for_the_table(root: str, adapter: Path) -> None:
    with pytest.raises(RequestError, match="--out must be given"):
        evaluate(ask(root, adapter, None), networks=TOYS)
