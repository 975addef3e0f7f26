"""Evaluation of an adapter whose pictures are known beforehand, on a small dataset, and once for real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.base.tiny import WIDTHS
from t2i_shards.adapters.evaluation import evaluate as module
from t2i_shards.adapters.evaluation import variants
from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.evaluation.evaluate import evaluate
from t2i_shards.adapters.evaluation.image_metrics import Networks
from t2i_shards.adapters.evaluation.report import Evaluation, table_lines
from t2i_shards.adapters.evaluation.samples import choose_samples
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.adapters.run_folder import find_held_out, read_held_out, write_held_out
from t2i_shards.adapters.training.data import open_samples
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.extractors.registry import format_of
from t2i_shards.extractors.weights.file import WeightsUnavailable
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.report.evaluation import read_evaluation
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.ingest import plan_dataset
from t2i_shards.pipeline.stream import HeldOut, Stream, open_stream
from tests.adapters.toys import toy_config
from tests.faults.toys import fill, make_images, run_here
from tests.pipeline.web import Web, put_failure, put_picture

SAMPLES, SIZE = 8, 128


def make_root(folder: Path, seed: int = 0) -> str:
    """Eight scenes with their Canny edges, made in this process."""
    root = str(folder)
    dataset = make_images(root, ScenesSource(SAMPLES, seed=seed), 5, size=SIZE)
    run_here(plan_extract(dataset, ["canny"]), dataset.shards)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_root(tmp_path_factory.mktemp("evaluate") / "root")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(make_adapter(adapter_config_for("tiny", 1, WIDTHS["sd"]), 0), folder)
    return folder


def ask(root: str, adapter: Path, out: Path | None, **changes: Any) -> EvaluateConfig:
    settings: dict[str, Any] = {"samples": 4, "batch": 3, "sampling": Sampling(steps=1, guidance=1)}
    return EvaluateConfig(root, "canny", "tiny", adapter, out, **{**settings, "device": "cpu", **changes})


class Colours:
    name = "the mean colour"

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(pictures.mean(axis=(1, 2)))


class Length:
    name = "the caption's length"

    def __call__(self, pictures: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        return np.array([len(caption) / 100 for caption in captions])


def make_colours(weights: Path | None, device: str) -> Colours:
    return Colours()


TOYS = Networks(make_colours, lambda weights, device: Length(), make_colours)


@pytest.fixture
def obedient(root: str, tiny: Base, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """In place of a base: a control image gives the picture that it was made from, none gives grey, and the
    autoencoder is lossless. Yields the captions of each call.
    """
    pictures: dict[bytes, np.ndarray] = {}
    for sample in open_stream(root, ["canny"]).samples(0):
        condition_map = format_of("canny").decode({"canny.png": bytes(sample.members["canny.png"])})
        pictures[(condition_map > 127).tobytes()] = decode_rgb(sample.members["jpg"])
    calls: list[list[str]] = []

    def paint(
        base: Any, adapter_inputs: Sequence[AdapterInput], captions: list[str], *others: Any, **options: Any
    ) -> np.ndarray:
        calls.append(captions)
        if not adapter_inputs:
            return np.full((len(captions), SIZE, SIZE, 3), 128, np.uint8)
        return np.stack(
            [
                pictures[(control_image[0] > 0.5).numpy().tobytes()]
                for control_image in adapter_inputs[0].control_images
            ]
        )

    monkeypatch.setattr(variants, "generate", paint)
    monkeypatch.setattr(module, "load_base", lambda *asked: tiny)
    monkeypatch.setattr(module, "_through", lambda base, examples: (example.picture for example in examples))
    return calls


def numbers(evaluation: Evaluation, name: str) -> list[float | None]:
    return [row.measures[name] for row in evaluation.rows]


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
    paint = variants.generate

    def lucky(base: Any, adapter_inputs: Sequence[AdapterInput], *others: Any, **options: Any) -> np.ndarray:
        return paint(base, adapter_inputs, *others, **options) if adapter_inputs else following

    monkeypatch.setattr(variants, "generate", lucky)
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
    assert list(cells) == ["condition", "without", "with", "another's", "autoencoder", "true picture"]
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
    paint = variants.generate

    def stopped(*example: Any, **options: Any) -> np.ndarray:
        if len(obedient) == 3:
            raise KeyboardInterrupt
        return paint(*example, **options)

    with monkeypatch.context() as patch:
        patch.setattr(variants, "generate", stopped)
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


def begin_run(folder: Path, adapter: Path, held_out: Sequence[HeldOut] = (), **begun: Any) -> Path:
    """A run's folder with this adapter."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(begun))
    (folder / "adapter").symlink_to(adapter)
    write_held_out(folder, held_out)
    return folder


def keys(samples: Sequence[Sample]) -> list[str]:
    return [sample.key for sample in samples]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Other scenes, whose keys are the same."""
    return make_root(tmp_path_factory.mktemp("evaluate") / "other", seed=1)


def test_what_a_training_holds_out_of_a_mix_is_known_of_each_root(
    root: str, other: str, adapter: Path, tiny: Base, tmp_path: Path
) -> None:
    """Exactly these by default, from wherever the dataset lies by now; none of them is ever trained on."""
    config = toy_config(tmp_path / "run", roots=(root, other), condition="canny", validation=6)
    training = Training(config, open_samples(config.data, config.seed, config.optimizer.batch), tiny)
    (tmp_path / "run" / "adapter").symlink_to(adapter)
    moved = str(shutil.copytree(other, tmp_path / "moved"))
    pictures = {bytes(sample.members["jpg"]): sample.key for sample in training.held_out}
    found: list[Sample] = []
    for place in (root, moved):
        eval_samples = choose_samples(ask(place, config.out, None, samples=None))
        assert eval_samples.held_out == len(eval_samples.samples) > 1
        found += eval_samples.samples
    assert [(bytes(sample.members["jpg"]), sample.key) for sample in found] == list(pictures.items())
    # An epoch of a mix has not each sample once.
    visits = training.stream.take(range(6 * SAMPLES), lambda sample, *_: bytes(sample.members["jpg"]))
    trained = {picture for _, picture in visits}
    assert not trained & pictures.keys()
    assert len(trained | pictures.keys()) == 2 * SAMPLES


@pytest.mark.parametrize("columns", [("canny",), ()])
def test_held_out_samples_come_first_and_the_table_says_so(
    root: str, adapter: Path, columns: tuple[str, ...], obedient: list[list[str]], tmp_path: Path
) -> None:
    """Those that the run's own stream held out, also when it read no column."""
    rest, held_out = open_stream(root, columns, 5).hold_out(3)
    run = begin_run(tmp_path / "run", adapter, rest.held_out, condition="canny", seed=5, size=64)
    for path in (run, run / "adapter"):
        for samples, first in ((None, 3), (5, 3), (2, 2)):
            eval_samples = choose_samples(ask(root, path, None, samples=samples))
            assert keys(eval_samples.samples)[:first] == keys(held_out)[:first]
            assert len({*keys(eval_samples.samples)}) == len(eval_samples.samples) == (samples or 3)
            assert (eval_samples.held_out, eval_samples.size) == (first, 64)
    table = "\n".join(table_lines(evaluate(ask(root, run, tmp_path / "out", samples=5, size=SIZE), networks=TOYS)))
    assert "the first 3 of them held out of the training, the others not" in table
    evaluation = evaluate(ask(root, run, tmp_path / "out", samples=None, size=SIZE), networks=TOYS)
    assert evaluation.about["keys"] == keys(held_out)
    assert f"3 samples of {root}, all of them held out of the training" in "\n".join(table_lines(evaluation))


def test_a_dataset_of_which_none_was_held_out(root: str, adapter: Path, tmp_path: Path) -> None:
    rest, _ = open_stream(root, ["canny"]).hold_out(0)
    run = begin_run(tmp_path / "run", adapter, rest.held_out, condition="canny", seed=0)
    eval_samples = choose_samples(ask(root, run, None, samples=None))
    assert (len(eval_samples.samples), eval_samples.held_out) == (SAMPLES, 0)


def test_what_was_removed_since_is_left_out(root: str, adapter: Path, tmp_path: Path) -> None:
    rest, held_out = open_stream(root, ["canny"]).hold_out(3)
    here = shutil.copytree(root, tmp_path / "here")
    remove(Dataset.open(str(here)), "keys", keys(held_out)[:1])
    run = begin_run(tmp_path / "run", adapter, rest.held_out, condition="canny", seed=0)
    eval_samples = choose_samples(ask(str(here), run, None, samples=None))
    assert (keys(eval_samples.samples), eval_samples.held_out) == (keys(held_out)[1:], 2)


def test_a_run_on_other_data_names_no_held_out_samples(
    root: str, other: str, adapter: Path, tmp_path: Path
) -> None:
    """The same keys are other pictures there."""
    rest, _ = open_stream(other, []).hold_out(3)
    run = begin_run(tmp_path / "run", adapter, rest.held_out, condition="canny", seed=0, size=128)
    eval_samples = choose_samples(ask(root, run, None, samples=None))
    assert (len(eval_samples.samples), eval_samples.held_out) == (SAMPLES, None)


def test_what_was_held_out_is_known_when_the_dataset_has_grown(tmp_path: Path) -> None:
    folder, names = tmp_path / "web", ("a-0", "a-1", "b-0", "b-1")
    for number, name in enumerate(names):
        put_picture(folder, name, number)
    put_failure(folder, "b-1", "timed out")
    source = Web(str(folder), names)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)

    def ingest() -> Stream:
        fill(dataset, source)
        return open_stream(dataset.store.root, ())

    write_held_out(tmp_path, ingest().hold_out(1)[0].held_out)
    known = find_held_out(tmp_path, dataset)
    assert known is not None
    assert len(known) == 1
    put_picture(folder, "b-1", 3)
    assert plan_retry(dataset)
    assert read_held_out(tmp_path, ingest().data) is None
    assert find_held_out(tmp_path, Dataset.open(dataset.store.root)) == known


def test_in_a_dataset_mixed_with_itself_only_unseen_samples_are_held_out(tmp_path: Path) -> None:
    ours = HeldOut("a", "0", ((0, "x"), (1, "y"))), HeldOut("b", "1"), HeldOut("a", "0", ((1, "y"),))
    write_held_out(tmp_path, ours)
    assert read_held_out(tmp_path, "0") == [(1, "y")]
    assert read_held_out(tmp_path, "1") == []
    assert read_held_out(tmp_path, "2") is None


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
