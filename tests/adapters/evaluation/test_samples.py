"""Which samples an adapter is evaluated on: those its training held out come first, where they are known."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.evaluation.evaluate import evaluate
from t2i_shards.adapters.evaluation.report import table_lines
from t2i_shards.adapters.evaluation.samples import choose_samples
from t2i_shards.adapters.training.data import open_samples
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import open_stream
from tests.adapters.evaluation.toys import SAMPLES, SIZE, TOYS, ask, begin_run, make_root
from tests.adapters.toys import toy_config


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
